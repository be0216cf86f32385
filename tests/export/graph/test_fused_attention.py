from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from xsam_edge.calibration.cli.verify import main as verify
from xsam_edge.export.cli import main as export
from xsam_edge.export.graph.fused_attention import fuse_attention
from xsam_edge.export.graph.passes import infer_types
from xsam_edge.runtime.bundle import contract

TOKENS, BATCH, HEADS, SIZE = 5, 2, 3, 4
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def _operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


@pytest.mark.parametrize("reference", ["phi3", "qwen3"])
def test_a_bundle_for_cuda_has_one_operator_for_each_attention(request, tmp_path, reference):
    """Also where queries share keys, and where a past is padded; its results are those of the reference."""
    folder, bundle = request.getfixturevalue(f"{reference}_reference"), tmp_path / "bundle"
    given = ["--checkpoint", str(folder), "--precision", "fp32", "--for", "cuda", "-o", str(bundle)]
    assert export(given) == 0
    operators = {name: _operators(bundle / f"{name}.onnx") for name in contract.GRAPHS}
    assert operators[contract.LLM]["MultiHeadAttention"] == 2
    assert operators[contract.LLM]["Softmax"] == 0
    assert all(operators[name]["MultiHeadAttention"] for name in contract.GRAPHS)
    assert verify([str(bundle), "--reference", str(folder)]) == 0


def _attention(path: Path, half: bool, bias_axes: int) -> ir.Model:
    """Query [B, heads, T, size] times keys, a bias unless it has no axes, softmax in FP32, times values."""
    kind = HALF if half else FLOAT
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    rows = [BATCH, TOKENS, HEADS, SIZE]
    inputs = [value(name, kind, rows) for name in ("q", "k", "v")]
    nodes = [
        node("Transpose", ["q"], ["q4"], "a/q", perm=[0, 2, 1, 3]),
        node("Transpose", ["k"], ["k4"], "a/k", perm=[0, 2, 3, 1]),
        node("Transpose", ["v"], ["v4"], "a/v", perm=[0, 2, 1, 3]),
        node("MatMul", ["q4", "k4"], ["scores"], "a/scores"),
    ]
    last = "scores"
    if bias_axes:
        inputs.append(value("bias", kind, [1, 1, TOKENS, TOKENS][4 - bias_axes :]))
        nodes.append(node("Add", ["bias", "scores"], ["biased"], "a/add"))
        last = "biased"
    if half:
        nodes.append(node("Cast", [last], ["full"], "a/cast", to=FLOAT))
        last = "full"
    nodes.append(node("Softmax", [last], ["weights"], "a/Softmax", axis=-1))
    last = "weights"
    if half:
        nodes.append(node("Cast", [last], ["low"], "a/back", to=HALF))
        last = "low"
    nodes += [
        node("MatMul", [last, "v4"], ["mixed"], "a/mixed"),
        node("Transpose", ["mixed"], ["tokens"], "a/out", perm=[0, 2, 1, 3]),
        node("Identity", ["tokens"], ["out"], "b"),
    ]
    graph = onnx.helper.make_graph(nodes, "attention", inputs, [value("out", kind, rows)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    loaded = ir.load(path)
    infer_types(loaded)
    return loaded


@pytest.mark.parametrize("bias_axes", [0, 2, 4])
@pytest.mark.parametrize("half", [False, True])
def test_results_stay(tmp_path, half, bias_axes):
    model = _attention(tmp_path / "apart.onnx", half, bias_axes)
    assert fuse_attention(model) == 1
    ir.save(model, tmp_path / "fused.onnx")
    assert set(_operators(tmp_path / "fused.onnx")) <= {"Reshape", "MultiHeadAttention", "Unsqueeze", "Identity"}
    generator = np.random.default_rng(0)
    kind = np.float16 if half else np.float32
    feed = {name: generator.standard_normal((BATCH, TOKENS, HEADS, SIZE)).astype(kind) for name in ("q", "k", "v")}
    if bias_axes:
        feed["bias"] = generator.standard_normal((1, 1, TOKENS, TOKENS)[4 - bias_axes :]).astype(kind)
    apart, fused = (
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx").run(None, feed)[0] for name in ("apart", "fused")
    )
    np.testing.assert_allclose(fused, apart, atol=2e-3 if half else 1e-6)


def test_a_softmax_of_something_else_is_left(tmp_path):
    model = _attention(tmp_path / "apart.onnx", half=False, bias_axes=0)
    graph = model.graph
    softmax = next(node for node in graph if node.op_type == "Softmax")
    graph.outputs.append(softmax.outputs[0])  # somebody looks at the weights
    assert fuse_attention(model) == 0
