"""Where Q and DQ stand, and that what is computed is what their codes say."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from tests.export.small_graphs import ArrayWeights, graph
from xsam_edge.export.graph.floats import FloatTypes, apply
from xsam_edge.export.graph.passes import WeightPlan
from xsam_edge.export.graph.weight_codes import stored
from xsam_edge.export.graph.weights import write_external_data
from xsam_edge.export.precision.plan import Quantized
from xsam_edge.export.quantization.qdq import INT4_OPSET, Choice, insert
from xsam_edge.export.quantization.sites import find_sites, graph_names
from xsam_edge.runtime.backends.onnxruntime import QUANTIZED_DISABLED
from xsam_edge.runtime.errors import CheckpointError

RNG = np.random.default_rng(1)
W, V = np.float32(RNG.standard_normal((64, 6))), np.float32(RNG.standard_normal((64, 8)))
TWO = (
    "(float[n,64] x, float[64,6] w, float[64,8] v, float[6] b) => (float[n,6] y, float[n,8] z)"
    " { s = MatMul(x, w) y = Add(s, b) z = MatMul(x, v) }"
)
WEIGHTS = {"w": W, "v": V, "b": np.float32(RNG.standard_normal(6))}


def two() -> tuple[ir.Model, dict[str, WeightPlan]]:
    return graph(TWO, list(WEIGHTS), ["/w", "/b", "/v"]), {name: WeightPlan((name,)) for name in WEIGHTS}


def write(folder: Path, model: ir.Model, plans: dict[str, WeightPlan], **weights: np.ndarray) -> Path:
    path = folder / "g.onnx"
    write_external_data(model, plans, ArrayWeights(**weights), folder / "g.onnx.data")
    ir.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    return path


def run(path: Path | bytes, **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(path) if isinstance(path, Path) else path
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def fake(x: np.ndarray, w: np.ndarray, amax: float, dtype: type = np.float32) -> np.ndarray:
    """The product of quantised and dequantised inputs, in numpy, with scales of a type."""
    step = np.float32(stored(np.array([amax / 127]), dtype))
    steps = np.float32(stored(np.abs(w).max(axis=0) / 127, dtype))
    return (np.clip(np.rint(x / step), -128, 127) * step) @ (np.rint(w / steps) * steps)


def test_each_reader_has_a_pair_and_all_share_a_scale(tmp_path: Path) -> None:
    model, plans = two()
    insert(model, plans, {"/w": Choice("int8", 3.0), "/v": Choice("int8", 3.0)}, ArrayWeights(**WEIGHTS))
    nodes = {node.name: node for node in model.graph}
    assert set(nodes) == {f"{name}{suffix}" for name in ("/w", "/v") for suffix in ("", "/q", "/dq", "/weight")} | {
        "/b"
    }
    assert nodes["/w/q"].inputs[1] is nodes["/v/q"].inputs[1]
    assert [nodes[name].inputs[1].producer().name for name in ("/w", "/v")] == ["/w/weight", "/v/weight"]
    assert nodes["/w/weight"].attributes["axis"].as_int() == 1
    # Neither the bias nor any output is quantised.
    assert nodes["/b"].inputs[1].name == "b" and nodes["/b"].inputs[0].producer().name == "/w"
    assert set(plans) == {"w.int8", "v.int8", "b"}
    assert model.graph.opset_imports[""] == 20
    x = np.float32(RNG.standard_normal((5, 64)))
    y, z = run(write(tmp_path, model, plans, **WEIGHTS), x=x)
    np.testing.assert_allclose(y, fake(x, W, 3.0) + WEIGHTS["b"], atol=1e-4)
    np.testing.assert_allclose(z, fake(x, V, 3.0), atol=1e-4)


def test_a_pair_has_the_type_of_its_product(tmp_path: Path) -> None:
    model, plans = two()
    apply(model, plans, FloatTypes("fp16", frozenset({"/v"})))
    insert(model, plans, {"/w": Choice("int8", 3.0), "/v": Choice("int8", 3.0)}, ArrayWeights(**WEIGHTS))
    kinds = {node.name: node.outputs[0].dtype for node in model.graph}
    assert (kinds["/w/dq"], kinds["/v/dq"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT)
    assert (kinds["/w/weight"], kinds["/v/weight"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT)
    x = np.float16(RNG.standard_normal((5, 64)))
    y, _ = run(write(tmp_path, model, plans, **WEIGHTS), x=x)
    np.testing.assert_allclose(y, fake(np.float32(x), W, 3.0, np.float16) + WEIGHTS["b"], atol=0.05)


def test_int4_keeps_activations_and_raises_the_opset(tmp_path: Path) -> None:
    model, plans = two()
    insert(model, plans, {"/w": Choice("int4")}, ArrayWeights(**WEIGHTS))
    assert [node.op_type for node in model.graph] == ["DequantizeLinear", "MatMul", "Add", "MatMul"]
    assert model.graph.opset_imports[""] == INT4_OPSET
    scale = plans["w.int4"].quantization.scale
    assert scale.shape == (1, 6)
    path = write(tmp_path, model, plans, **WEIGHTS)
    x = np.float32(RNG.standard_normal((5, 64)))
    codes = plans["w.int4"].quantization.codes(W, 0)
    np.testing.assert_allclose(run(path, x=x)[0], x @ (codes * scale) + WEIGHTS["b"], atol=1e-4)
    assert (path.parent / "g.onnx.data").stat().st_size < W.nbytes / 4 + V.nbytes + 4096


def test_a_shared_weight_is_stored_once_and_read_through_two_nodes(tmp_path: Path) -> None:
    model = graph(
        "(float[n,64] x, float[n,64] u, float[64,6] w) => (float[n,6] y, float[n,6] z)"
        " { y = MatMul(x, w) z = MatMul(u, w) }",
        ["w"],
        ["/one", "/two"],
    )
    plans = {"w": WeightPlan(("w",))}
    insert(model, plans, {"/one": Choice("int8", 2.0), "/two": Choice("int8", 4.0)}, ArrayWeights(w=W))
    assert set(plans) == {"w.int8"}
    x = np.float32(RNG.uniform(-2, 2, (3, 64)))
    y, z = run(write(tmp_path, model, plans, w=W), x=x, u=2 * x)
    np.testing.assert_allclose(y, fake(x, W, 2.0), atol=1e-4)
    np.testing.assert_allclose(z, 2 * y, atol=1e-4)


def fake_fp8(x: np.ndarray, w: np.ndarray, amax: float, dtype: type = np.float32) -> np.ndarray:
    """The product of inputs that were rounded to E4M3, in numpy, with scales of a type."""
    step = np.float32(stored(np.array([amax / 448]), dtype))
    steps = np.float32(stored(np.abs(w).max(axis=0) / 448, dtype))

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.clip(values, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)

    return (rounded(x / step) * step) @ (rounded(w / steps) * steps)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_fp8_rounds_activations_and_weights(level: str, tmp_path: Path) -> None:
    """ONNX Runtime does so at every level of optimisation; what it computes is what an engine multiplies."""
    model, plans = two()
    insert(model, plans, {"/w": Choice("fp8", 3.0), "/v": Choice("int8", 3.0)}, ArrayWeights(**WEIGHTS))
    nodes = {node.name: node for node in model.graph}
    kinds = [nodes[name].outputs[0].dtype for name in ("/w/q", "/v/q")]
    assert kinds == [ir.DataType.FLOAT8E4M3FN, ir.DataType.INT8]
    assert nodes["/w/q"].inputs[1] is not nodes["/v/q"].inputs[1]  # steps of one range in two types
    assert set(plans) == {"w.fp8", "v.int8", "b"} and model.graph.opset_imports[""] == 20
    path = write(tmp_path, model, plans, **WEIGHTS)
    x = np.float32(3 * RNG.standard_normal((5, 64)))  # some beyond the range, which saturate
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    y, z = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(y, fake_fp8(x, W, 3.0) + WEIGHTS["b"], atol=1e-4)
    np.testing.assert_allclose(z, fake(x, V, 3.0), atol=1e-4)
    assert np.abs(y - x @ W - WEIGHTS["b"]).max() > 0.1
    stored_bytes = (tmp_path / "g.onnx.data").stat().st_size
    assert stored_bytes < W.size + V.size + WEIGHTS["b"].nbytes + 4096


def test_fp8_among_fp16(tmp_path: Path) -> None:
    model, plans = two()
    apply(model, plans, FloatTypes("fp16", frozenset()))
    insert(model, plans, {"/w": Choice("fp8", 3.0)}, ArrayWeights(**WEIGHTS))
    x = np.float16(RNG.standard_normal((5, 64)))
    y, _ = run(write(tmp_path, model, plans, **WEIGHTS), x=x)
    np.testing.assert_allclose(y, fake_fp8(np.float32(x), W, 3.0, np.float16) + WEIGHTS["b"], atol=0.05)


def test_a_convolution_has_a_scale_for_each_output(tmp_path: Path) -> None:
    kernel = np.float32(RNG.standard_normal((4, 3, 2, 2)))
    model = graph("(float[1,3,5,5] x, float[4,3,2,2] k) => (float[1,4,4,4] y) { y = Conv(x, k) }", ["k"], ["/conv"])
    plans = {"k": WeightPlan(("k",))}
    insert(model, plans, {"/conv": Choice("int8", 3.0)}, ArrayWeights(k=kernel))
    x = np.float32(RNG.standard_normal((1, 3, 5, 5)))
    step, steps = 3.0 / 127, np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / 127
    plain = graph("(float[1,3,5,5] x, float[4,3,2,2] k) => (float[1,4,4,4] y) { y = Conv(x, k) }", [], ["/conv"])
    expected = run(
        ir.to_proto(plain).SerializeToString(),
        x=np.float32(np.clip(np.rint(x / step), -128, 127) * step),
        k=np.float32(np.rint(kernel / steps) * steps),
    )[0]
    np.testing.assert_allclose(run(write(tmp_path, model, plans, k=kernel), x=x)[0], expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_silent_channels_and_activations_have_scales_above_zero(precision: Quantized, tmp_path: Path) -> None:
    weight = W.copy()
    weight[:, 1] = 0
    model, plans = two()
    weights = {**WEIGHTS, "w": weight}
    insert(model, plans, {"/w": Choice(precision, 0.0)}, ArrayWeights(**weights))
    scales = [v.const_value.numpy() for n, v in model.graph.initializers.items() if "scale" in n]
    assert len(scales) == 2 and all((scale > 0).all() for scale in scales)
    y, _ = run(write(tmp_path, model, plans, **weights), x=np.zeros((2, 64), np.float32))
    np.testing.assert_allclose(y, np.tile(WEIGHTS["b"], (2, 1)))


def test_a_weight_that_is_not_finite_is_named() -> None:
    model, plans = two()
    broken = W.copy()
    broken[3, 3] = np.nan
    with pytest.raises(CheckpointError, match="w holds NaN or infinity"):
        insert(model, plans, {"/w": Choice("int8", 1.0)}, ArrayWeights(**{**WEIGHTS, "w": broken}))


def test_sites_are_products_with_a_weight_of_their_own() -> None:
    model = graph(
        "(float[2,64] x, float[64,64] w, float[2,64,64] t, float[64,33] odd, float[24,24] few, float[2,24] q)"
        " => (float[2,64] y) {"
        " a = MatMul(x, w) b = Transpose(a) c = MatMul(a, b) d = MatMul(x, t) e = MatMul(x, odd) f = MatMul(q, few)"
        " y = Relu(a) }",
        ["w", "t", "odd", "few"],
        ["/linear", "/turn", "/scores", "/tables", "/odd", "/few", "/relu"],
    )
    weights = {"w", "t", "odd", "few"}
    assert [site.node.name for site in find_sites(model.graph, weights)] == ["/linear", "/odd", "/few"]
    names = graph_names({"g": (model.graph, weights)})
    both = {"int8", "fp8"}
    assert names.sites == {"/linear": {"int4", *both}, "/odd": both, "/few": both}
    assert "both of its inputs are activations" in names.reasons["/scores", "fp8"]
    assert "both of its inputs are activations" in names.reasons["/scores", "int8"]
    assert "3 axes" in names.reasons["/tables", "int4"]
    assert "33 outputs" in names.reasons["/odd", "int4"]
    assert "24 inputs are not whole blocks" in names.reasons["/few", "int4"]


def test_a_relu_before_fp8_codes_is_kept(tmp_path: Path) -> None:
    """An optimiser of ONNX Runtime drops it: what it takes the zero point of FP8 for is the least code."""
    text = "(float[n,64] x, float[64,6] w) => (float[n,6] y) { r = Relu(x) y = MatMul(r, w) }"
    model, plans = graph(text, ["w"], ["/relu", "/w"]), {"w": WeightPlan(("w",))}
    insert(model, plans, {"/w": Choice("fp8", 3.0)}, ArrayWeights(w=W))
    path = write(tmp_path, model, plans, w=W)
    x = np.float32(RNG.standard_normal((5, 64)))
    disabled = list(QUANTIZED_DISABLED)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, fake_fp8(np.maximum(x, 0), W, 3.0), atol=1e-4)
