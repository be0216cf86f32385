"""Bundles whose files are links into other folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.linked import LAYOUTS, each_apart
from tests.recorded import DATA
from tests.runtime.backends.onnxruntime.fake_gpu import FakeOrt
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from xsam_edge.runtime import XSam
from xsam_edge.runtime.backends.onnxruntime import WEIGHTS_FOLDER, Model, find_model
from xsam_edge.runtime.backends.onnxruntime.gpu import GpuBackend
from xsam_edge.runtime.backends.onnxruntime.library import is_since
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.versions import Version


class Since:
    """A package ``onnxruntime`` of a version."""

    def __init__(self, version: str) -> None:
        self.__version__ = version


CONFINED = Since("1.24.0")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_linked_bundle_answers_as_the_bundle_itself(phi3_bundle: Path, tmp_path: Path, layout: str) -> None:
    linked = LAYOUTS[layout](phi3_bundle, tmp_path)
    image = DATA / "golden-phi3" / "image.png"
    expected, found = (XSam.load(bundle, threads=1).look(image).refer("a car") for bundle in (phi3_bundle, linked))
    assert found.scores == expected.scores and np.array_equal(found.masks, expected.masks)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_graph_is_found_where_no_link_may_lead_out(phi3_bundle: Path, tmp_path: Path, layout: str) -> None:
    """The form that is given to releases which follow no link, and which 1.23 and newer understand."""
    linked = LAYOUTS[layout](phi3_bundle, tmp_path)
    for spec in read_manifest(linked).graphs.values():
        path = linked / spec.file
        model = find_model(CONFINED, path)
        assert isinstance(model.content, bytes)
        assert model.entries == {WEIGHTS_FOLDER: str((linked / f"{spec.file}.data").resolve().parent)}
        assert model.content.count(b"location") == path.read_bytes().count(b"location") > 0


def test_plain_files_and_older_releases_are_given_the_path(phi3_bundle: Path, tmp_path: Path) -> None:
    assert find_model(CONFINED, phi3_bundle / "llm.onnx") == Model(str(phi3_bundle / "llm.onnx"))
    linked = each_apart(phi3_bundle, tmp_path)
    assert find_model(Since("1.23.2"), linked / "llm.onnx") == Model(str(linked / "llm.onnx"))
    aside = tmp_path / "aside"  # the folder itself is a link, its files are none
    aside.symlink_to(phi3_bundle)
    assert find_model(CONFINED, aside / "llm.onnx") == Model(str(aside / "llm.onnx"))


def test_nothing_but_the_place_of_weights_is_changed(phi3_bundle: Path, tmp_path: Path) -> None:
    """A name as long as the other one, so that the bytes can be compared."""
    graph = (phi3_bundle / "llm.onnx").read_bytes()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "llm.onnx").write_bytes(graph)
    (tmp_path / "work" / "llm.onnx.data").symlink_to(tmp_path / "LLM-ONNX-DATA")
    content = find_model(CONFINED, tmp_path / "work" / "llm.onnx").content
    assert content == graph.replace(b"llm.onnx.data", b"LLM-ONNX-DATA")
    longer = tmp_path / ("x" * 200)
    (tmp_path / "work" / "llm.onnx.data").unlink()
    (tmp_path / "work" / "llm.onnx.data").symlink_to(longer)
    content = find_model(CONFINED, tmp_path / "work" / "llm.onnx").content
    assert isinstance(content, bytes) and content.count(b"x" * 200) == graph.count(b"llm.onnx.data")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x3a\x05\x2a", "it ends within a field, at byte 3"),
        (b"\x3a", "it ends within a number, at byte 1"),
        (b"\x3b\x00", "a field of the kind 3 at byte 0"),
        (b"\xff" * 20, "it ends within a number"),
        (
            b"\x3a\x1a\x2a\x18\x6a\x16\x0a\x08location\x12\x0a../secrets",
            "it has weights in '../secrets'; expected 'g.onnx.data'",
        ),
    ],
)
def test_what_is_no_graph_of_a_bundle_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "real").write_bytes(content)
    (tmp_path / "g.onnx").symlink_to(tmp_path / "real")
    with pytest.raises(BackendError, match=re.escape(said)):
        find_model(CONFINED, tmp_path / "g.onnx")


@pytest.mark.skipif(
    not is_since(onnxruntime, Version(1, 23)), reason="the stand-in runs on an older release than it is"
)
def test_sessions_on_gpus_are_told_the_folder_too(phi3_bundle: Path, tmp_path: Path) -> None:
    linked = each_apart(phi3_bundle, tmp_path)
    cudart = FakeCudart()
    ort: Any = FakeOrt(cudart)
    backend = GpuBackend(CUDA, ort=ort, driver=cudart)  # type: ignore[arg-type]
    spec = read_manifest(linked).graphs["mask_decoder"]
    backend.open(linked / spec.file, spec)
    entries = ort.sessions[-1].entries
    assert entries == {WEIGHTS_FOLDER: str((linked / f"{spec.file}.data").resolve().parent)}
