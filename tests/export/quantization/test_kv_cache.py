"""Keys and values as codes: what comes in and goes out, that scales are those of heads, and what is computed."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from tests.export.small_graphs import graph
from xsam_edge.export.graph.floats import FloatTypes, apply
from xsam_edge.export.graph.graphs import graph_spec
from xsam_edge.export.graph.weight_codes import stored
from xsam_edge.export.precision.plan import CachePrecision
from xsam_edge.export.quantization.kv_cache import CacheCodes, new_rows, quantize_cache
from xsam_edge.runtime.errors import CheckpointError

# A layer in small: what is new is rows of the input, what is seen the past and these, and how many of them there are.
LAYER = (
    "(float[1,s,3,4] x, float[1,past,3,4] past_key, float[1,past,3,4] past_value)"
    " => (float[1,t,3,4] seen, int64[4] size, float[1,s,3,4] new_key, float[1,s,3,4] new_value)"
    " { new_key = Neg(x) new_value = Identity(x) keys = Concat<axis=1>(past_key, new_key)"
    " values = Concat<axis=1>(past_value, new_value) seen = Add(keys, values) size = Shape(past_key) }"
)
RNG = np.random.default_rng(5)
# Heads of 1, of 100 times that, and one of zeros.
HEADS = np.array([1, 100, 0], np.float32)
RANGES = {"new_key.0": np.array([4, 400, 0], np.float32), "new_value.0": np.array([3, 300, 0], np.float32)}
LIMITS = {"int8": 127, "fp8": 448}


def layer() -> ir.Model:
    model = graph(LAYER, (), ["/key", "/value", "/keys", "/values", "/seen", "/size"])
    for value in (*model.graph.inputs, *model.graph.outputs):  # the parser takes no name with a dot
        value.name = f"{value.name}.0" if str(value.name).startswith(("past_", "new_")) else value.name
    return model


def coded(precision: CachePrecision, half: bool = False) -> ir.Model:
    model = layer()
    if half:
        apply(model, {}, FloatTypes("fp16"))
    quantize_cache(model.graph, CacheCodes(precision, RANGES))
    return model


def scales(name: str, precision: str, dtype: type) -> np.ndarray:
    steps = np.float32(stored(RANGES[name] / LIMITS[precision], dtype))
    return steps[:, None]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_what_is_computed_is_what_the_codes_say(precision: CachePrecision, half: bool) -> None:
    model = coded(precision, half)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    dtype = np.float16 if half else np.float32
    kind = ml_dtypes.float8_e4m3fn if precision == "fp8" else np.int8
    x = (RNG.uniform(-1, 1, (1, 5, 3, 4)) * HEADS[:, None]).astype(dtype)
    past = [np.zeros((1, 2, 3, 4), np.uint8), RNG.integers(1, 100, (1, 2, 3, 4)).astype(np.uint8)]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    found = {"seen": np.empty((1, 7, 3, 4), dtype), "size": np.empty(4, np.int64)}
    found |= {name: np.empty(x.shape, np.uint8) for name in RANGES}
    number = {spec.name: spec.type for spec in (*session.get_inputs(), *session.get_outputs())}
    assert {number[name] for name in ("past_key.0", "past_value.0", *RANGES)} == {
        "tensor(int8)" if precision == "int8" else "tensor(float8e4m3fn)"
    }
    code = (ir.DataType.INT8 if precision == "int8" else ir.DataType.FLOAT8E4M3FN).value
    binding.bind_input("x", "cpu", 0, dtype, x.shape, x.ctypes.data)
    for name, rows in zip(("past_key.0", "past_value.0"), past, strict=True):
        binding.bind_input(name, "cpu", 0, code, rows.shape, rows.ctypes.data)
    for name, array in found.items():
        element = code if name in RANGES else array.dtype.type
        binding.bind_output(name, "cpu", 0, element, array.shape, array.ctypes.data)
    session.run_with_iobinding(binding)
    assert found["size"].tolist() == [1, 2, 3, 4]
    for name, values in (("new_key.0", -x), ("new_value.0", x)):
        steps = values.astype(np.float32) / scales(name, precision, dtype)
        expected = np.rint(steps).astype(np.int8) if precision == "int8" else steps.astype(kind)
        np.testing.assert_array_equal(found[name].view(kind).astype(np.float32), expected.astype(np.float32))
        # A head is within half a step of itself, however much larger another one is.
        back = found[name].view(kind).astype(np.float32) * scales(name, precision, dtype)
        error = np.abs(back - values.astype(np.float32))
        assert (error <= RANGES[name][:, None] * (0.51 / 127 if precision == "int8" else 0.51 / 8)).all()
        assert not back[:, :, 2].any(), "zeros are zeros"
    # Zero bytes of a past are zeros; the new rows are attended to as they are, and keys and values cancel out.
    values = past[1].view(kind).astype(np.float32) * scales("new_value.0", precision, dtype)
    np.testing.assert_allclose(found["seen"][:, :2], values.astype(dtype), rtol=2e-3)
    assert not found["seen"][:, 2:].any()


def test_what_lies_beyond_a_range_is_its_end() -> None:
    session = onnxruntime.InferenceSession(ir.to_proto(coded("int8")).SerializeToString())
    x = np.full((1, 1, 3, 4), 1e4, np.float32)
    empty = np.empty((1, 0, 3, 4), np.int8)
    key, value = session.run(list(RANGES), {"x": x, "past_key.0": empty, "past_value.0": empty})
    assert (value[0, 0, :2] == 127).all() and (key[0, 0, :2] == -128).all()


def test_one_dequantizer_stands_before_all_that_reads_a_past() -> None:
    model = coded("int8", half=True)
    nodes = {str(node.name): node for node in model.graph}
    assert {name for name, node in nodes.items() if node.op_type == "DequantizeLinear"} == {
        "/past_key.0/DequantizeLinear",
        "/past_value.0/DequantizeLinear",
    }
    assert nodes["/keys"].inputs[0].producer() is nodes["/past_key.0/DequantizeLinear"]
    # ONNX Runtime tells no shape of 8-bit floats.
    assert nodes["/size"].inputs[0].producer() is nodes["/past_key.0/DequantizeLinear"]
    floats = nodes["/keys"].inputs[1]
    assert floats.dtype == ir.DataType.FLOAT16 and floats.name == "/new_key.0/floats"
    assert {node.attributes["axis"].as_int() for node in nodes.values() if node.op_type.endswith("zeLinear")} == {2}
    spec = graph_spec(model, "llm.onnx")
    assert {tensor.name: tensor.dtype for tensor in (*spec.inputs, *spec.outputs)} == {
        "x": "float16",
        "past_key.0": "int8",
        "past_value.0": "int8",
        "seen": "float16",
        "size": "int64",
        "new_key.0": "int8",
        "new_value.0": "int8",
    }
    assert (spec.quantized, spec.codes) == ("float16", ("int8",))
    assert graph_spec(coded("fp8"), "llm.onnx").input("past_key.0").dtype == "float8_e4m3fn"


def test_graphs_without_a_cache_are_left_alone() -> None:
    model = graph("(float[n,4] x) => (float[n,4] y) { y = Neg(x) }")
    quantize_cache(model.graph, CacheCodes("int8", {}))
    assert [node.op_type for node in model.graph] == ["Neg"] and new_rows(model.graph) == []


def test_a_range_that_has_no_scale_is_named() -> None:
    model = layer()
    apply(model, {}, FloatTypes("fp16"))
    huge = {**RANGES, "new_value.0": np.array([1, 1e8, 1], np.float32)}
    with pytest.raises(CheckpointError, match=r"new_value\.0 cannot be stored as int8: a scale of .* float16"):
        quantize_cache(model.graph, CacheCodes("int8", huge))
