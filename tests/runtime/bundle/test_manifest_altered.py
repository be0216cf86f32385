"""Whatever is wrong with a manifest, loading a bundle ends in one line, and so does the doctor."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.altered import alterations
from tests.runtime.device.test_compatibility import ENGINE
from tests.samples import EMBEDDINGS, MANIFEST
from xsam_edge.runtime.bundle.activation_sizes import ActivationSizes
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    Chunks,
    FileEntry,
    HalfRange,
    Manifest,
    read_manifest,
)
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.bundle.work import GraphWork
from xsam_edge.runtime.cli.doctor import as_json, as_text
from xsam_edge.runtime.device.compatibility import Environment
from xsam_edge.runtime.doctor.bundle import examine
from xsam_edge.runtime.doctor.software import OnnxRuntime
from xsam_edge.runtime.errors import BundleError, XSamError
from xsam_edge.runtime.model import XSam

WHOLE = replace(
    MANIFEST,
    files={EMBEDDINGS_FILE: FileEntry(EMBEDDINGS.nbytes, "0" * 64, Chunks(256, ("0" * 64, "1" * 64)))},
    engine=ENGINE,
    activations=ActivationSizes(1, 2, 3, 4, 5),
    half_range=HalfRange(4, 9.5, "llm: /llm/MatMul_output_0", 2),
    work={"llm": GraphWork({"batch*sequence": 2}, 3, {"1": 4}, ({"past": 5},), ("1 Einsum",))},
)
EMPTY_WORK = {"flops": {}, "weight_bytes": 0, "io_bytes": {}, "activation_bytes": []}
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def one_line(error: Exception) -> bool:
    return str(error).isprintable() and len(str(error)) < 1000


def refusal(act: Callable[[], object]) -> XSamError | None:
    """The error that an act ends in, if it is one that a user is told in a line."""
    try:
        act()
    except XSamError as error:
        return error
    return None


def some(bundle: Path, count: int) -> Iterator[tuple[str, Any]]:
    every = list(alterations(json.loads((bundle / MANIFEST_FILE).read_text())))
    yield from random.Random(0).sample(every, count)


def test_every_value_is_checked() -> None:
    accepted = []
    for what, altered in alterations(json.loads(WHOLE.to_json())):
        start = time.perf_counter()
        refused = refusal(partial(from_json, Manifest, altered, "manifest", BundleError))
        assert time.perf_counter() - start < 1, what
        assert refused is None or (isinstance(refused, BundleError) and one_line(refused)), what
        if refused is None:
            accepted.append(what)
    # What is left are values that another model, machine or image might have.
    assert 100 < len(accepted) < 400
    sizes = ("embeddings.", "settings.model.hidden", "settings.model.vocab", "settings.vision_input.height")
    assert not [what for what in accepted if what.startswith(sizes)]


def test_files_say_which_manifest_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_FILE
    path.write_text(WHOLE.to_json())
    for what, altered in some(tmp_path, 300):
        path.write_text(json.dumps(altered))
        refused = refusal(partial(read_manifest, tmp_path))
        assert refused is None or (one_line(refused) and str(refused).startswith(str(path))), what


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("settings.model.hidden_size", 9, "graphs.image_encoder.outputs: image_embeds is float32 [1, 6, 8]; expected"),
        ("settings.model.num_layers", 2, "graphs.llm.inputs has no 'past_key.1'; expected float32 [1, past, 1, 4]"),
        ("settings.model.context_length", 6, "context_length is 6; expected more than the 6 image_tokens"),
        ("settings.model.region_grid", [3, 3], "region_grid is 3 x 3; expected at most the 6 image_tokens"),
        ("settings.model.vocab_size", 15, "settings.tokens.phrase_end is 15; expected an id below vocab_size, 15"),
        ("settings.regions.group", 3, "settings.regions.group is 3; expected a divisor of points, 256"),
        ("settings.regions.points", 1 << 17, "points is 131072; expected a whole number from 1 to 65536"),
        ("settings.mask_input.longest_edge", 9, "longest_edge is 9; expected at most the 8 x 8 that it is padded to"),
        ("settings.mask_input.std", [0.5, 0, 0.5], "settings.mask_input.std[1] is 0; expected a finite number from"),
        ("settings.vision_input.resample", 6, "resample is 6; expected one of 0, 1, 2, 3, 4, 5"),
        ("settings.prompt.instruction", "", "instruction is ''; expected text that holds '{input}' once"),
        ("settings.prompt.stop_words", [""], "stop_words[0] is ''; expected text that is not empty"),
        ("graphs.llm.file", "../llm.onnx", "graphs.llm.file is '../llm.onnx'; expected the name of a file inside"),
        ("graphs.llm.file", "mask_decoder.onnx", "graphs has two of the file 'mask_decoder.onnx'"),
        ("graphs.mask_decoder", None, "graphs.mask_decoder is null; expected an object"),
        ("graphs.llm.inputs.0.shape", ["batch", "sequence", 1 << 40], "expected at most 2147483647 values"),
        ("graphs.llm.inputs.0.name", "position_ids", "graphs.llm.inputs and outputs have 'position_ids' twice"),
        ("graphs.llm.outputs.0.dtype", "float16", "logits is float16 [rows, 16]; expected float32 [rows, 16]"),
        (
            "graphs.llm.outputs.3.dtype",
            "int8",
            "is int8 [batch, sequence, 1, 4]; expected float32 [batch, sequence, 1, 4]",
        ),
        ("graphs.llm.inputs.3.dtype", "int4", "dtype is 'int4'; expected one of float32, float16, int64, uint8, int8"),
        ("graphs.mask_decoder.inputs.2.shape", [1, 4, 4, 5], "mask_features is float32 [1, 4, 4, 5]; expected float32"),
        ("embeddings.rows", 17, "embeddings has 17 rows of 8; expected vocab_size and hidden_size"),
        ("files", {"token_embeddings.bin": {"bytes": 1, "sha256": "0" * 64}}, "bytes is 1; expected 512 for 16 rows"),
        ("files", {"a/../../b": {"bytes": 1, "sha256": "0" * 64}}, "files has the key 'a/../../b'; expected the name"),
        ("engine.profiles.llm", [], "engine.profiles has none of 'llm'"),
        ("engine.profiles.llm.0.axes", {}, "engine.profiles.llm[0].axes has no axis; expected batch, past, rows"),
        ("engine.profiles.llm.0.axes.past", [2, 1, 3], "axes.past is (2, 1, 3); expected the smallest, likeliest"),
        ("work.llm.flops", {"past * past": 1}, "work.llm.flops has the key 'past * past'; expected 1, or names of"),
        ("work.llm.io_bytes", {"1": 0.5}, "work.llm.io_bytes['1'] is 0.5; expected a whole number"),
        ("work.llm.flops", {"height": 1}, "work.llm has the axis 'height'; expected batch, past, rows, sequence, as"),
        ("work", {"x": EMPTY_WORK}, "work has a graph 'x'; expected those of graphs, image_encoder, llm"),
        ("work.llm", None, "work.llm is null; expected an object"),
        ("engine.compute_capabilities", [], "compute_capabilities is []; expected a list that is not empty"),
    ],
)
def test_what_contradicts_is_named(place: str, value: Any, message: str, tmp_path: Path) -> None:
    document = json.loads(WHOLE.to_json())
    *path, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    inner = document
    for key in path:
        inner = inner[key]
    inner[last] = value
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(document))
    with pytest.raises(BundleError) as error:
        read_manifest(tmp_path)
    assert message in str(error.value) and str(error.value).endswith("; export the bundle again")


def test_bundles_that_take_one_prompt_at_a_time_are_read(tmp_path: Path) -> None:
    text = MANIFEST.to_json().replace('"batch"', "1")
    (tmp_path / MANIFEST_FILE).write_text(text)
    assert read_manifest(tmp_path).graphs["llm"].input("inputs_embeds").shape == (1, "sequence", 8)


@pytest.fixture
def links(phi3_bundle: Path, tmp_path: Path) -> Path:
    """The bundle without its manifest."""
    for path in phi3_bundle.iterdir():
        if path.name != MANIFEST_FILE:
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def use(bundle: Path) -> None:
    scene = XSam.load(bundle, verify="none", threads=2).look(IMAGE)
    scene.refer("a car", answer="append")
    scene.categories(["car"], ["road"])
    scene.regions(points=[(20, 20)])


def test_a_real_bundle_is_loaded_or_refused(phi3_bundle: Path, links: Path) -> None:
    for what, altered in some(phi3_bundle, 100):
        (links / MANIFEST_FILE).write_text(json.dumps(altered))
        start = time.perf_counter()
        refused = refusal(partial(use, links))
        assert time.perf_counter() - start < 20, what
        assert refused is None or one_line(refused), what


def test_the_doctor_says_what_is_wrong(phi3_bundle: Path, links: Path) -> None:
    for what, altered in some(phi3_bundle, 200):
        (links / MANIFEST_FILE).write_text(json.dumps(altered))
        section, verdicts = examine(
            links, Environment({}, None), OnnxRuntime(("CPUExecutionProvider",)), 1 << 34, verify="none"
        )
        assert as_text([section], verdicts).encode() and json.dumps(as_json([section], verdicts)), what
        assert verdicts[0].way == "files" and (verdicts[0].runs or one_line(Exception(verdicts[0].reason))), what
