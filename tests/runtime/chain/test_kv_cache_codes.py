"""A bundle whose keys and values are stored in 8 bits answers like one of FP16, from half of the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.recorded import DATA
from xsam_edge.runtime.backends.onnxruntime.library import is_since
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device.memory_plan import footprint
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.versions import Version

IMAGE = DATA / "golden-phi3" / "image.png"
pytestmark = pytest.mark.skipif(
    not is_since(onnxruntime, Version(1, 30)), reason="before 1.30 ONNX Runtime quantises no float16 rightly"
)


def test_a_cache_of_codes_is_half_as_large_and_answers_the_same(phi3_kv_bundle: Path, phi3_fp16_bundle: Path) -> None:
    coded, half = (XSam.load(path, threads=1) for path in (phi3_kv_bundle, phi3_fp16_bundle))
    caches = [model.pipeline.cache for model in (coded, half)]
    assert 2 * caches[0].nbytes == caches[1].nbytes
    assert {buffer.dtype for buffer in caches[0]._all()} == {np.dtype(np.int8)}
    scenes = [model.look(IMAGE) for model in (coded, half)]
    chats = [scene.chat("What is it?", max_new_tokens=12).text for scene in scenes]
    assert chats[0] == chats[1] and chats[0]
    for phrase in ("the ironing man", "the yellow car"):  # behind the past of the one before
        found, expected = (scene.refer(phrase, answer="append") for scene in scenes)
        assert found.token_ids == expected.token_ids
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
        union = np.logical_or(found.masks[0], expected.masks[0]).sum()
        assert np.logical_and(found.masks[0], expected.masks[0]).sum() > 0.97 * union
    several = [scene.refer(["a cat", "the ironing man"], answer="append") for scene in scenes]
    for found, expected in zip(*several, strict=True):
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)


def test_its_manifest_says_so(phi3_kv_bundle: Path) -> None:
    manifest = read_manifest(phi3_kv_bundle)
    llm = manifest.graphs["llm"]
    tensors = [*llm.inputs, *llm.outputs]
    assert {item.dtype for item in tensors if item.name.startswith(("past_", "new_"))} == {"int8"}
    assert llm.input("inputs_embeds").dtype == "float16"
    assert (manifest.precision, llm.codes, llm.quantized) == ("fp16", ("int8",), "float16")
    facts, model = footprint(manifest), manifest.settings.model
    assert facts.cache_token == 2 * model.num_layers * model.num_kv_heads * model.head_dim
