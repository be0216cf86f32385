"""FP16 on a CPU as a strongly typed engine computes it, against numpy's float16."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from xsam_edge.export.gate.rounding import round_halves
from xsam_edge.export.graph.passes import infer_types

HALF = np.float16
# Beyond the range, at its edge, ties to even, subnormal, vanishing.
HARD = np.float32([300, 65519, 65520, -70000, 2049, 2051, 1 / 3, 1e-4, 1e-7, 6e-8, 3e-8, 2e-8, 0])


def half(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.float32(values).astype(HALF)


def rounded(text: str, opset: int = 20, **weights: np.ndarray) -> tuple[ir.Model, list[str]]:
    """``(inputs) => (outputs) { nodes }`` with weights as initialisers; and the names of what was kept."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\ng {text}')
    model = ir.from_proto(proto)
    for name, array in weights.items():
        value = next(item for item in model.graph.inputs if item.name == name)
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(array, dtype=value.dtype, name=name)
        model.graph.initializers[name] = value
    infer_types(model)
    round_halves(model)
    values = model.graph.initializers.items()
    kept = [name for name, value in values if isinstance(value.const_value, ir.LazyTensor)]
    onnx.checker.check_model(ir.to_proto(model))
    return model, kept


def run(model: ir.Model, **inputs: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, inputs
    )


def test_every_value_is_rounded_once() -> None:
    model, _ = rounded(
        "(float[n] x) => (float[n] y, float16[n] z)"
        " { h = Cast<to=10>(x) q = Mul(h, h) r = Add(q, h) z = Sqrt(q) y = Cast<to=1>(r) }"
    )
    y, z = run(model, x=HARD)
    with np.errstate(over="ignore", invalid="ignore"):
        h = np.float32(half(HARD))
        q = np.float32(half(h * h))
        np.testing.assert_array_equal(y, np.float32(half(q + h)))
        np.testing.assert_array_equal(z, half(np.sqrt(q)))
    assert np.isinf(q).sum() > np.isinf(h).sum() > 0 and z.dtype == HALF


def test_an_overflow_that_the_next_node_undoes_is_seen() -> None:
    """What ONNX Runtime does not see by itself: it computes both nodes in FP32 and nothing between them in FP16."""
    text = "(float16[n] x, float16[1] big, float16[1] small) => (float16[n] y) { a = Mul(x, big) y = Mul(a, small) }"
    weights = {"big": half(np.array([1000])), "small": half(np.array([1e-3]))}
    model, _ = rounded(text, **weights)
    x = half(np.array([1, 60, 70]))
    assert np.isinf(run(model, x=x)[0]).tolist() == [False, False, True]


def test_movers_and_choices_need_no_second_rounding() -> None:
    model, _ = rounded(
        "(float[2,3] x, bool[2,3] b) => (float16[3,2] y, float[2,3] f) <float16 zero = {0}> { h = Cast<to=10>(x)"
        " r = Relu(h) w = Where(b, r, zero) y = Transpose<perm=[1,0]>(w) n = Neg(h) f = Cast<to=1>(n) }"
    )
    assert sum(node.op_type == "Cast" for node in model.graph) == 4  # the pair of h, y back to FP16, and f of float32
    x, b = np.float32([[1, -2, 1e6], [1 / 3, 5, 1e-7]]), np.array([[1, 1, 1], [0, 1, 1]], bool)
    y, f = run(model, x=x, b=b)
    np.testing.assert_array_equal(y, np.where(b, np.maximum(half(x), 0), 0).T)
    np.testing.assert_array_equal(f, -np.float32(half(x)))


@pytest.mark.parametrize("hidden", [-np.inf, -65504.0, -3e4])
def test_masked_softmax(hidden: float) -> None:
    model, _ = rounded(
        "(float16[2,3] x, float16[3] m) => (float16[2,3] y) { s = Add(x, m) y = Softmax<axis=-1>(s) }",
        m=np.array([0, 0, hidden], HALF),
    )
    x = np.array([[1, 2, 3], [-5, 1e4, -6e4]], HALF)
    scores = np.float32(half(np.float32(x) + np.float32([0, 0, hidden])))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(run(model, x=x)[0], half(weights / weights.sum(axis=-1, keepdims=True)))


def test_a_norm_sums_in_float32_but_takes_what_was_infinite() -> None:
    model, _ = rounded(
        "(float16[n,4] x, float16[4] w) => (float16[n,4] y)"
        " { d = Mul(x, x) f = Cast<to=1>(d) m = LayerNormalization(f, g) h = Cast<to=10>(m) y = Mul(h, w) }".replace(
            "(float16[n,4] x, ", "(float16[n,4] x, float[4] g, "
        ),
        g=np.ones(4, np.float32),
        w=np.ones(4, HALF),
    )
    y = run(model, x=np.array([[200, 1, 2, 3], [300, 1, 2, 3]], HALF))[0]
    assert np.isfinite(y[0]).all() and not np.isfinite(y[1]).any()


def test_resize_keeps_its_scales() -> None:
    model, _ = rounded(
        "(float16[1,1,2,2] x) => (float16[1,1,4,4] y) <float[4] scales = {1, 1, 2, 2}>"
        ' { y = Resize<mode="linear">(x, , scales) }'
    )
    x = np.array([[[[1, 2049 / 1024], [3, 60000]]]], HALF)
    y = run(model, x=x)[0]
    assert y.dtype == HALF and y.shape == (1, 1, 4, 4) and y.max() == 60000
    assert y[0, 0, 0, 1] == half(np.float32(x[0, 0, 0, 0]) * 0.75 + np.float32(x[0, 0, 0, 1]) * 0.25)


def test_weights_are_kept_once_in_float32() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(HALF)
    model, kept = rounded(
        "(float16[n,64] x, float16[64,32] w) => (float16[n,32] y, float16[n,32] z)"
        " { y = MatMul(x, w) a = Neg(x) z = MatMul(a, w) }",
        w=weight,
    )
    assert kept == ["w\tsingle"] and list(model.graph.initializers) == kept
    x = np.random.default_rng(1).standard_normal((5, 64)).astype(HALF)
    y, z = run(model, x=x)
    np.testing.assert_allclose(np.float32(y), np.float32(x) @ np.float32(weight), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(z, -y)


def test_codes_with_half_scales() -> None:
    codes = np.random.default_rng(2).integers(-127, 128, (64, 8)).astype(np.int8)
    step, steps = HALF(0.013), np.linspace(0.001, 0.2, 8).astype(HALF)
    model, kept = rounded(
        "(float16[n,64] x, float16 s, int8[64,8] c, float16[8] t) => (float16[n,8] y) <int8 zero = {0}>"
        " { q = QuantizeLinear(x, s, zero) d = DequantizeLinear(q, s, zero) w = DequantizeLinear<axis=1>(c, t)"
        " y = MatMul(d, w) }",
        s=np.array(step),
        c=codes,
        t=steps,
    )
    assert kept == ["c\tsingle"]
    assert not [node for node in model.graph if node.op_type == "DequantizeLinear" and node.inputs[0].is_initializer()]
    x = np.random.default_rng(3).standard_normal((5, 64)).astype(HALF)
    x[0, 0] = np.inf  # becomes the largest code
    taken = half(np.clip(np.rint(np.float32(x) / np.float32(step)), -128, 127) * np.float32(step))
    weight = half(codes * np.float32(steps))
    np.testing.assert_allclose(
        np.float32(run(model, x=x)[0]), np.float32(taken) @ np.float32(weight), rtol=1e-3, atol=1e-4
    )


def test_codes_in_blocks() -> None:
    codes = np.random.default_rng(4).integers(-8, 8, (64, 6)).astype(np.int8)
    steps = np.linspace(0.01, 0.3, 12).reshape(2, 6).astype(HALF)
    model, _ = rounded(
        "(float16[n,64] x, int4[64,6] c, float16[2,6] t) => (float16[n,6] y)"
        " { w = DequantizeLinear<axis=0, block_size=32>(c, t) y = MatMul(x, w) }",
        opset=21,
        c=codes.astype(ir.DataType.INT4.numpy()),
        t=steps,
    )
    weight = half(codes * np.repeat(np.float32(steps), 32, axis=0))
    np.testing.assert_array_equal(run(model, x=np.eye(64, dtype=HALF))[0], weight)


def test_float32_is_left_alone() -> None:
    text = "(float[n] x, int64[n] i) => (float[n] y, int64[n] j) { y = Exp(x) j = Neg(i) }"
    model, kept = rounded(text)
    plain = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\ng {text}'))
    assert [node.op_type for node in model.graph] == [node.op_type for node in plain.graph] and not kept
