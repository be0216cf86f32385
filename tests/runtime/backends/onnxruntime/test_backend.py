from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import FP8, memory_type
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec, read_manifest
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.model import XSam

pytestmark = pytest.mark.filterwarnings("ignore::xsam_edge.runtime.UntestedVersionWarning")


@pytest.mark.parametrize(
    ("version", "without_logits"),
    [
        ("1.32.0", True),
        ("1.33.0+nv", True),
        ("2.0", True),
        ("1.31.1", False),
        ("1.19.0rc1", False),
        ("1.32.0.dev20250101", False),
        ("nightly", False),
        (None, False),
    ],
)
def test_what_a_version_can_do(monkeypatch: pytest.MonkeyPatch, version: str | None, without_logits: bool) -> None:
    """Of a version that cannot be read nothing is taken for granted."""
    monkeypatch.setattr(onnxruntime, "__version__", version)
    assert OnnxRuntimeBackend("cpu", 1).runs_without_logits is without_logits


def test_a_module_without_a_version_loads_a_bundle(monkeypatch: pytest.MonkeyPatch, phi3_bundle: Path) -> None:
    monkeypatch.delattr(onnxruntime, "__version__")
    XSam.load(phi3_bundle, threads=1, verify="none")


@pytest.mark.parametrize(("version", "refused"), [("1.29.1", True), ("nightly", True), ("1.30.0", False)])
def test_float16_that_would_be_rounded_wrongly_is_refused(
    monkeypatch: pytest.MonkeyPatch, phi3_bundle: Path, version: str, refused: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    spec = replace(read_manifest(phi3_bundle).graphs[contract.IMAGE_ENCODER], quantized="float16")
    backend, path = OnnxRuntimeBackend("cpu", 1), phi3_bundle / spec.file
    if not refused:
        assert backend.open(path, spec).spec is spec
        return
    with pytest.raises(BackendError, match=f"before 1.30 rounds wrongly, and this one is {version}; install"):
        backend.open(path, spec)


def test_8_bit_floats_are_bound_as_their_bytes(tmp_path: Path) -> None:
    """Numpy has no such type: 1.5, -2, 0 and 448 by their bits."""
    onnx = pytest.importorskip("onnx")
    code, single = onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT
    tensors = {"past": (code, FP8), "x": (single, "float32"), "floats": (single, "float32"), "new": (code, FP8)}
    infos = {name: onnx.helper.make_tensor_value_info(name, kind, [4]) for name, (kind, _) in tensors.items()}
    nodes = [
        onnx.helper.make_node("Cast", ["past"], ["floats"], to=single),
        onnx.helper.make_node("Cast", ["x"], ["new"], to=code),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [infos["past"], infos["x"]], [infos["floats"], infos["new"]])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "g.onnx")
    specs = [TensorSpec(name, dtype, (4,)) for name, (_, dtype) in tensors.items()]
    backend = OnnxRuntimeBackend("cpu", 1)
    opened = backend.open(tmp_path / "g.onnx", GraphSpec("g.onnx", tuple(specs[:2]), tuple(specs[2:])))
    bits, values = np.array([0x3C, 0xC0, 0, 0x7E], np.uint8), np.array([1.5, -2, 0, 448], np.float32)
    outputs = {"floats": backend.allocate((4,), "float32"), "new": backend.allocate((4,), memory_type(FP8))}
    opened.run({"past": backend.upload(bits), "x": backend.upload(values)}, outputs)
    np.testing.assert_array_equal(backend.download(outputs["floats"]), values)
    np.testing.assert_array_equal(backend.download(outputs["new"]), bits)
