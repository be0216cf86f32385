from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.export.small_graphs import graph
from xsam_edge.export.graph import passes
from xsam_edge.export.graph.passes import evaluate, extract_weights, infer_types, rename, simplify

GRAPHS = ("image_encoder", "llm", "mask_decoder")


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_a_transpose_becomes_a_plan() -> None:
    model = graph(
        "(float[2,3] x, float[4,3] w) => (float[2,4] y) { t = Transpose<perm=[1,0]>(w) y = MatMul(x, t) }", ["w"]
    )
    plans = extract_weights(model)
    assert operators(model) == ["MatMul"]
    assert list(model.graph.initializers) == ["w.T"]
    assert tuple(model.graph.initializers["w.T"].shape.numpy()) == (3, 4)
    assert plans["w.T"].transpose and plans["w.T"].parameters == ("w",) and plans["w.T"].program is None


def test_a_matrix_that_is_transposed_twice_is_stored_once() -> None:
    model = graph(
        "(float[2,3] x, float[4,3] w) => (float[2,4] y, float[2,4] z) {"
        " s = Transpose<perm=[1,0]>(w) t = Transpose<perm=[1,0]>(w) y = MatMul(x, s) z = MatMul(x, t) }",
        ["w"],
    )
    assert list(extract_weights(model)) == ["w.T"]
    assert list(model.graph.initializers) == ["w.T"]


def test_a_matrix_that_is_used_both_ways_is_stored_both_ways() -> None:
    model = graph(
        "(float[2,3] x, float[3,3] w) => (float[2,3] y) { t = Transpose<perm=[1,0]>(w) z = MatMul(x, t) "
        "y = MatMul(z, w) }",
        ["w"],
    )
    plans = extract_weights(model)
    assert {name: plan.transpose for name, plan in plans.items()} == {"w": False, "w.T": True}
    assert set(model.graph.initializers) == set(plans)


def test_no_rewriting_goes_through_the_whole_graph_at_every_node() -> None:
    """As rules with several outputs do: of a large model's three thousand nodes they take minutes."""
    assert len(passes._REWRITE_RULES) > 20
    assert all(rule._matcher.pattern.has_single_output_node for rule in passes._REWRITE_RULES)


@pytest.mark.parametrize(
    ("shape", "perm", "out"), [("3,3", "0,1", "3,3"), ("2,3,4", "2,1,0", "4,3,2"), ("2,3,4", "0,2,1", "2,4,3")]
)
def test_other_permutations_are_computed(shape: str, perm: str, out: str) -> None:
    model = graph(
        f"(float[{out}] x, float[{shape}] w) => (float[{out}] y) {{ t = Transpose<perm=[{perm}]>(w) y = Add(x, t) }}",
        ["w"],
    )
    (plan,) = extract_weights(model).values()
    assert not plan.transpose and plan.program is not None
    values = np.arange(np.prod([int(n) for n in shape.split(",")]), dtype=np.float32)
    values = values.reshape([int(n) for n in shape.split(",")])
    expected = values.transpose([int(axis) for axis in perm.split(",")])
    np.testing.assert_array_equal(evaluate(plan.program, {"w": values}), expected)


def test_what_depends_on_weights_only_is_computed() -> None:
    model = graph(
        "(float[2,3] x, float[3] a, float[3] b) => (float[2,3] y, float[2,3] z)"
        " <float two = {2}> { s = Mul(a, two) t = Add(s, b) y = Add(x, t) z = Mul(y, b) }",
        ["a", "b"],
    )
    plans = extract_weights(model)
    assert operators(model) == ["Add", "Mul"]
    assert set(plans) == {"t", "b"} == set(model.graph.initializers)
    assert plans["t"].program is not None
    assert sorted(plans["t"].parameters) == ["a", "b"]
    values = {"a": np.array([1, 2, 3], np.float32), "b": np.array([10, 20, 30], np.float32)}
    np.testing.assert_array_equal(evaluate(plans["t"].program, values), [12, 24, 36])


def test_what_depends_on_nothing_gets_its_value() -> None:
    model = graph(
        "(float[2,2] x) => (float[2,2] y) <float[2,1] a = {1, 2}, float[1,2] b = {3, 4}>"
        " { t = Mul(a, b) u = Neg(t) y = Add(x, u) }"
    )
    assert extract_weights(model) == {}
    (value,) = model.graph.initializers.values()
    np.testing.assert_array_equal(value.const_value.numpy(), [[-3, -4], [-6, -8]])


def test_what_depends_on_an_input_stays() -> None:
    text = "(float[2,3] x, float[3] w) => (float[2,3] y) { t = Add(x, w) u = Shape(x) y = Expand(t, u) }"
    model = graph(text, ["w"])
    assert list(extract_weights(model)) == ["w"]
    assert operators(model) == ["Add", "Shape", "Expand"]


def test_an_unused_weight_is_dropped() -> None:
    model = graph("(float[2] x, float[2] w) => (float[2] y) { t = Neg(w) y = Neg(x) }", ["w"])
    assert extract_weights(model) == {}
    assert not model.graph.initializers


def test_names_come_from_modules() -> None:
    model = graph(
        "(float[2,3] x) => (float[2,3] y) <float one = {1}> { a = Add(x, one) b = Add(a, one) c = Neg(b) y = Abs(c) }"
    )
    scopes = ["['', 'llm', 'llm.layers.0', 'add']"] * 2 + ["['', 'llm', 'neg']", None]
    for node, scope in zip(model.graph, scopes, strict=True):
        if scope:
            node.metadata_props["pkg.torch.onnx.name_scopes"] = scope
        node.metadata_props["pkg.torch.onnx.stack_trace"] = 'File "/home/someone/model.py", line 3'
    model.metadata_props["path"] = "/home/someone"
    rename(model)
    assert [node.name for node in model.graph] == ["/llm/layers.0/Add", "/llm/layers.0/Add_1", "/llm/Neg", "/Abs"]
    assert [value.name for node in model.graph for value in node.outputs] == [
        "/llm/layers.0/Add_output_0",
        "/llm/layers.0/Add_1_output_0",
        "/llm/Neg_output_0",
        "y",
    ]
    assert list(model.graph.initializers) == ["/llm/layers.0/Add_input_1"]
    assert b"someone" not in ir.to_proto(model).SerializeToString()


def test_simplify_and_infer_types() -> None:
    model = graph(
        "(float[2,3] x, float[3,3] w) => (float[n,3] y) <int64[1] zero = {0}, int64[1] three = {3}>"
        " { s = Shape(x) r = Gather<axis=0>(s, zero) t = Concat<axis=0>(r, three) a = Reshape(x, t) b = Identity(a)"
        " y = MatMul(b, w) z = Neg(w) }",
        ["w"],
    )
    simplify(model)
    infer_types(model)
    assert "MatMul" in operators(model)
    assert not {"Shape", "Gather", "Concat", "Identity", "Neg"} & set(operators(model))
    assert all(value.dtype == ir.DataType.FLOAT for node in model.graph for value in node.outputs)
    assert model.graph.initializers["w"].const_value is None


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(
    "bundle", ["phi3_bundle", "phi3_gpu_bundle", "phi3_fp16_bundle", "qwen3_bundle", "qwen3_fp16_bundle"]
)
def test_exported_graphs_are_clean(request: pytest.FixtureRequest, bundle: str, name: str) -> None:
    path: Path = request.getfixturevalue(bundle) / f"{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    nodes = [node.name for node in model.graph.node]
    assert max(Counter(nodes).values()) == 1
    assert all(node.startswith("/") and node.strip("/") for node in nodes)
    values = [value for node in model.graph.node for value in node.output]
    values += [value.name for value in (*model.graph.input, *model.graph.initializer)]
    assert max(Counter(values).values()) == 1
    assert not model.functions
    assert {opset.domain for opset in model.opset_import} == {""}
    content = path.read_bytes()
    for word in (b"site-packages", b"stack_trace", b"pkg.torch", b"/home/", str(Path.cwd()).encode(), b".py"):
        assert word not in content
    # Nothing that is the same for every image is left to be computed.
    static = {tensor.name for tensor in model.graph.initializer}
    assert not [node.name for node in model.graph.node if node.op_type == "Constant" or set(node.input) <= static]


def test_nodes_can_be_located(phi3_bundle: Path) -> None:
    for name, expected in {
        "llm": "/llm/model/layers.0/self_attn/qkv_proj/MatMul",
        "image_encoder": "/segmentor/encoder/layers.0/attn/qkv/MatMul",
        "mask_decoder": "/segmentor/decoder/decoder/layers.0/cross_attn/out_proj/MatMul",
    }.items():
        model = onnx.load(phi3_bundle / f"{name}.onnx", load_external_data=False)
        assert expected in {node.name for node in model.graph.node}
        assert {tensor.name for tensor in model.graph.initializer if "qkv" in tensor.name} <= {
            "llm.model.layers.0.self_attn.qkv_proj.weight.T",
            "llm.model.layers.1.self_attn.qkv_proj.weight.T",
            *(f"segmentor.encoder.layers.{i}.attn.qkv.weight.T" for i in range(4)),
            *(f"segmentor.encoder.layers.{i}.attn.qkv.bias" for i in range(4)),
        }
