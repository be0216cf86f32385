from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.export.small_graphs import ArrayWeights, graph, run
from xsam_edge.export.graph.floats import FloatTypes, apply
from xsam_edge.export.graph.passes import extract_weights
from xsam_edge.export.graph.weights import write_external_data
from xsam_edge.export.precision.plan import matches
from xsam_edge.export.precision.presets import FP32_ISLANDS
from xsam_edge.runtime.bundle.manifest import read_manifest

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
# The products that need float32, those of the mask head.
WHOLE = {
    "cpu": (
        "/segmentor/decoder/**",
        "/segmentor/pixel_decoder/**",
        "/seg_connector/**",
        "/segmentor/class_predictor/**",
    ),
    "gpu": ("/segmentor/decoder/decoder/mask_predictor/**", "**/sampling_offsets/*", "/segmentor/class_predictor/**"),
}


def fp16(model: ir.Model, *keep: str) -> FloatTypes:
    """FP16 but for the nodes of an island."""
    return FloatTypes("fp16", frozenset(str(n.name) for n in model.graph if str(n.name).startswith("/island")), keep)


def types(model: ir.Model) -> dict[str, ir.DataType]:
    return {str(value.name): value.dtype for node in model.graph for value in node.outputs}


def casts(model: ir.Model) -> list[str]:
    return [node.name for node in model.graph if node.op_type == "Cast"]


def save(model: ir.Model, plans, tmp_path: Path, **weights: np.ndarray) -> str:
    write_external_data(model, plans, ArrayWeights(**weights), tmp_path / "g.onnx.data")
    ir.save(model, tmp_path / "g.onnx")
    # Strict: operators of mixed types and wrongly declared values fail.
    onnx.shape_inference.infer_shapes_path(str(tmp_path / "g.onnx"), str(tmp_path / "i.onnx"), True, True)
    onnx.checker.check_model(str(tmp_path / "g.onnx"), full_check=True)
    return str(tmp_path / "g.onnx")


def test_fp32_is_left_alone() -> None:
    model = graph("(float[2] x) => (float[2] y) { s = Neg(x) y = Abs(s) }", names=["/a", "/island"])
    before = ir.to_proto(model).SerializeToString()
    apply(model, {}, FloatTypes("fp32"))
    assert ir.to_proto(model).SerializeToString() == before


def test_an_island_is_cast_on_its_shores(tmp_path: Path) -> None:
    model = graph(
        "(float[2,3] x, float[3] a) => (float[2,3] y) { s = Mul(x, a) t = Exp(s) u = Sqrt(t) y = Mul(u, a) }",
        ["a"],
        ["/in", "/island/exp", "/island/sqrt", "/out"],
    )
    plans = extract_weights(model)
    apply(model, plans, fp16(model))
    assert [node.name for node in model.graph] == [
        "/in", "/s/to_f32", "/island/exp", "/island/sqrt", "/u/to_f16", "/out"
    ]  # fmt: skip
    assert types(model) == {
        "s": HALF, "/s/to_f32_output_0": FLOAT, "t": FLOAT, "u": FLOAT, "/u/to_f16_output_0": HALF, "y": HALF
    }  # fmt: skip
    assert model.graph.inputs[0].dtype == HALF
    assert set(plans) == {"a.f16"} == set(model.graph.initializers)
    a, x = np.float32([1, 2, 3]), np.float16([[1, 2, 3], [0, -1, 1]])
    path = save(model, plans, tmp_path, a=a)
    np.testing.assert_allclose(run(path, x=x)[0], np.sqrt(np.exp(x * a)) * a, rtol=5e-3)


def test_a_weight_that_both_precisions_use_is_stored_in_both(tmp_path: Path) -> None:
    model = graph("(float[2] x, float[2] a) => (float[2] y) { s = Add(x, a) y = Mul(s, a) }", ["a"], ["/in", "/island"])
    plans = extract_weights(model)
    apply(model, plans, fp16(model))
    assert {name: model.graph.initializers[name].dtype for name in plans} == {"a": FLOAT, "a.f16": HALF}
    path = save(model, plans, tmp_path, a=np.float32([1, 2]))
    np.testing.assert_array_equal(run(path, x=np.float16([3, 4]))[0], np.float16([4, 12]))


def test_a_value_with_several_readers_is_cast_once(tmp_path: Path) -> None:
    model = graph(
        "(float[2] x) => (float[2] y, float[2] z, float[2] w) { s = Neg(x) y = Exp(s) z = Sqrt(s) w = Abs(s) }",
        names=["/a", "/island/b", "/island/c", "/d"],
    )
    apply(model, {}, fp16(model, "y", "z", "w"))
    assert casts(model) == ["/s/to_f32", "/w_before_cast/to_f32"]
    assert [(value.name, value.dtype) for value in model.graph.outputs] == [("y", FLOAT), ("z", FLOAT), ("w", FLOAT)]
    out = run(save(model, {}, tmp_path), x=np.float16([-1, -4]))
    np.testing.assert_allclose(out, [np.exp([1, 4]), [1, 2], [1, 4]], rtol=1e-3)


def test_kept_inputs_and_outputs_are_float32(tmp_path: Path) -> None:
    model = graph(
        "(float[2] x, float[2] h) => (float[2] y, float[2] z, float[2] k) { y = Add(x, h) z = Neg(y) k = Exp(h) }",
        names=["/a", "/b", "/island"],
    )
    apply(model, {}, fp16(model, "x", "y", "k"))
    assert [value.dtype for value in model.graph.inputs] == [FLOAT, HALF]
    assert {value.name: value.dtype for value in model.graph.outputs} == {"y": FLOAT, "z": HALF, "k": FLOAT}
    y, z, k = run(save(model, {}, tmp_path), x=np.float32([1, 2]), h=np.float16([3, 4]))
    assert (y.tolist(), z.tolist(), k.dtype) == ([4, 6], [-4, -6], np.float32)


def test_movers_keep_what_they_move(tmp_path: Path) -> None:
    model = graph(
        "(float[2,3] x) => (float[3,2] y, float[3,2] z) <int64[2] shape = {3, 2}>"
        " { s = Exp(x) t = Reshape(s, shape) y = Sqrt(t) u = Neg(x) z = Transpose<perm=[1,0]>(u) }",
        names=["/island/a", "/move", "/island/b", "/c", "/turn"],
    )
    apply(model, {}, fp16(model, "y"))
    found = types(model)
    assert found["t"] == FLOAT and found["z"] == HALF
    assert casts(model) == ["/x/to_f32"]
    save(model, {}, tmp_path)


def test_a_joint_of_two_precisions_takes_the_default(tmp_path: Path) -> None:
    model = graph(
        "(float[2] x) => (float[4] y) { s = Exp(x) t = Neg(x) y = Concat<axis=0>(s, t) }",
        names=["/island", "/b", "/join"],
    )
    apply(model, {}, fp16(model))
    assert types(model)["y"] == HALF
    save(model, {}, tmp_path)


def test_scales_of_a_resize_stay_float32(tmp_path: Path) -> None:
    model = graph(
        "(float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] scales = {1, 1, 2, 2}>"
        ' { y = Resize<mode="linear">(x, , scales) }',
        names=["/resize"],
    )
    apply(model, {}, fp16(model))
    assert model.graph.initializers["scales"].dtype == FLOAT
    assert types(model) == {"y": HALF}
    save(model, {}, tmp_path)


def test_integers_and_conditions_have_no_precision(tmp_path: Path) -> None:
    model = graph(
        "(float[2,3] x, int64[n] i) => (float[n,3] y, bool[n,3] b) <float zero = {0}>"
        " { g = Gather<axis=0>(x, i) b = Less(g, zero) f = Cast<to=1>(b) y = Mul(f, g) }",
        names=["/g", "/less", "/cast", "/mul"],
    )
    apply(model, {}, fp16(model))
    found = types(model)
    assert found["b"] == ir.DataType.BOOL and found["g"] == HALF and found["y"] == HALF
    y, b = run(save(model, {}, tmp_path), x=np.float16([[1, -2, 3], [-4, 5, -6]]), i=np.int64([1]))
    assert y.tolist() == [[-4, 0, -6]] and b.tolist() == [[True, False, True]]


def test_weights_that_are_made_in_float32_are_stored_in_half(tmp_path: Path) -> None:
    model = graph(
        "(float[2] x, float[2] a) => (float[2] y) { s = Mul(a, a) y = Add(x, s) }", ["a"], ["/square", "/add"]
    )
    plans = extract_weights(model)
    apply(model, plans, fp16(model))
    path = save(model, plans, tmp_path, a=np.float32([200, 0.01]))
    np.testing.assert_array_equal(run(path, x=np.float16([0, 0]))[0], np.float16([40000, 1e-4]))


def value_types(path: Path) -> tuple[onnx.ModelProto, dict[str, int]]:
    model = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False), strict_mode=True)
    graph = model.graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return model, found | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize("name", ["image_encoder", "llm", "mask_decoder"])
@pytest.mark.parametrize("bundle", ["phi3_fp16_bundle", "phi3_fp16_cpu_bundle", "qwen3_fp16_bundle"])
def test_what_needs_float32_has_it(request: pytest.FixtureRequest, bundle: str, name: str) -> None:
    path: Path = request.getfixturevalue(bundle)
    model, found = value_types(path / f"{name}.onnx")
    head = WHOLE[read_manifest(path).dialect]
    sensitive = {
        "LayerNormalization", "InstanceNormalization", "ReduceMean", "ReduceL2", "Softmax", "Pow", "Sqrt", "Exp",
        "Cos", "Sin", "Floor",
    }  # fmt: skip
    nodes = [node for node in model.graph.node if node.op_type in sensitive]
    assert nodes
    assert [node.name for node in nodes if found[node.output[0]] != onnx.TensorProto.FLOAT] == []
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    whole = [node.name for node in products if found[node.output[0]] == onnx.TensorProto.FLOAT]
    expected = [node.name for node in products if any(matches(pattern, node.name) for pattern in head)]
    assert whole == expected
    # Every product's weight is stored in its own type, not cast on every run.
    kinds = {node.op_type: node for node in model.graph.node}
    assert "Cast" in kinds
    static = {tensor.name for tensor in model.graph.initializer}
    assert not [node.name for node in model.graph.node if node.op_type == "Cast" and node.input[0] in static]


@pytest.mark.parametrize("bundle", ["phi3_fp16_bundle", "phi3_fp16_cpu_bundle"])
def test_no_island_is_without_nodes(request: pytest.FixtureRequest, bundle: str) -> None:
    """A pattern that no node's name fits any more would protect nothing."""
    path: Path = request.getfixturevalue(bundle)
    graphs = (onnx.load(file, load_external_data=False).graph for file in path.glob("*.onnx"))
    names = [node.name for graph in graphs for node in graph.node]
    islands = FP32_ISLANDS[read_manifest(path).dialect]
    assert [rule for rule in islands if not any(matches(rule.nodes, name) for name in names)] == []


def test_residual_streams_are_float32_and_biases_of_scores_are_not(phi3_fp16_bundle: Path) -> None:
    """Of the additions in layers a pattern means those of the layer itself, not those of its attention."""
    for name in ("image_encoder", "llm", "mask_decoder"):
        model, found = value_types(phi3_fp16_bundle / f"{name}.onnx")
        additions = [node for node in model.graph.node if node.op_type == "Add" and "/layers." in node.name]
        residual = [node for node in additions if matches("**/layers.*/Add*", node.name)]
        inner = [node for node in additions if "attn/Add" in node.name]
        assert residual and {found[node.output[0]] for node in residual} == {onnx.TensorProto.FLOAT}
        assert inner and {found[node.output[0]] for node in inner} == {onnx.TensorProto.FLOAT16}
