import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.linked import each_apart
from xsam_edge.benchmarks.flops import cost
from xsam_edge.runtime.errors import BundleError

FLOAT = ir.TensorType(ir.DataType.FLOAT)


def save(path: Path, shape: tuple[int | str, ...], build) -> Path:
    """A graph from one input of ``shape``; ``build(x, constant)`` gives its nodes, the last of which is the output."""
    constants: list[ir.Value] = []

    def constant(*dims: int) -> ir.Value:
        tensor = ir.tensor(np.zeros(dims, np.float32), name=f"w{len(constants)}")
        constants.append(ir.Value(name=tensor.name, shape=tensor.shape, type=FLOAT, const_value=tensor))
        return constants[-1]

    x = ir.Value(name="x", shape=ir.Shape(shape), type=FLOAT)
    nodes = build(x, constant)
    y = nodes[-1].outputs[0]
    y.name, y.type = "y", FLOAT
    graph = ir.Graph([x], [y], nodes=nodes, initializers=constants, opset_imports={"": 20}, name="g")
    ir.save(ir.Model(graph, ir_version=10), path)
    return path


def test_a_matrix_product_of_any_length(tmp_path: Path) -> None:
    path = save(tmp_path / "g.onnx", (2, "length", 32), lambda x, w: [ir.Node("", "MatMul", [x, w(32, 48)])])
    found = cost(path, {"length": 7})
    assert found.flops == 2 * 2 * 7 * 32 * 48
    assert found.weight_bytes == 4 * 32 * 48
    assert found.io_bytes == 4 * (2 * 7 * 32 + 2 * 7 * 48)
    assert found.bytes == found.weight_bytes + found.io_bytes
    assert found.activation_bytes == found.io_bytes
    assert found.uncounted == ()


def test_a_grouped_convolution(tmp_path: Path) -> None:
    def build(x: ir.Value, w) -> list[ir.Node]:
        attributes = [
            ir.AttrInt64("group", 2),
            ir.AttrInt64s("strides", [2, 2]),
            ir.AttrInt64s("pads", [1, 1, 1, 1]),
        ]
        return [ir.Node("", "Conv", [x, w(12, 4, 3, 3)], attributes)]

    assert cost(save(tmp_path / "g.onnx", (1, 8, 10, 6), build), {}).flops == 2 * 12 * 5 * 3 * 4 * 9


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_either_way(tmp_path: Path, transposed: int) -> None:
    shape = (20, 6) if transposed else (6, 20)
    build = lambda x, w: [ir.Node("", "Gemm", [x, w(20, 9)], [ir.AttrInt64("transA", transposed)])]  # noqa: E731
    assert cost(save(tmp_path / "g.onnx", shape, build), {}).flops == 2 * 6 * 20 * 9


def test_activations_are_those_alive_at_a_time(tmp_path: Path) -> None:
    """x [4, 100] -> [4, 1000] -> a view of it -> [4, 10]: the wide one and its two neighbours, never all four."""

    def build(x: ir.Value, w) -> list[ir.Node]:
        wide = ir.Node("", "MatMul", [x, w(100, 1000)])
        view = ir.Node("", "Flatten", [wide.outputs[0]])
        narrow = ir.Node("", "MatMul", [view.outputs[0], w(1000, 10)])
        return [wide, view, narrow]

    found = cost(save(tmp_path / "g.onnx", (4, 100), build), {})
    assert found.activation_bytes == 4 * 4 * (100 + 1000 + 10)


def test_products_that_are_not_understood_are_named(tmp_path: Path) -> None:
    equation = [ir.AttrString("equation", "ij,jk->ik")]
    path = save(tmp_path / "g.onnx", (3, 4), lambda x, w: [ir.Node("", "Einsum", [x, w(4, 5)], equation)])
    assert cost(path, {}).uncounted == ("1 Einsum",)


@pytest.mark.parametrize(("sequence", "past", "rows"), [(11, 0, 1), (3, 11, 3), (1, 20, 1)])
def test_a_language_model_in_closed_form(phi3_bundle: Path, sequence: int, past: int, rows: int) -> None:
    """Prefill, suffix and decode step: projections of new tokens, attention of new to all, logits where asked."""
    config = json.loads((phi3_bundle / "model_config.json").read_text())
    llm, embed = config["llm"], config["mask_decoder"]["hidden_dim"]
    hidden, heads, kv = llm["hidden_size"], llm["num_heads"] * llm["head_dim"], llm["num_kv_heads"] * llm["head_dim"]
    layer = hidden * (heads + 2 * kv) + heads * hidden + 3 * hidden * llm["intermediate_size"]
    attention = 2 * heads * sequence * (past + sequence)
    projector = hidden * embed + embed * embed
    products = (
        llm["num_layers"] * (sequence * layer + attention) + sequence * projector + rows * hidden * llm["vocab_size"]
    )
    axes = {"batch": 1, "sequence": sequence, "past": past, "rows": rows}
    found = cost(phi3_bundle / "llm.onnx", axes)
    assert found.flops == 2 * products
    cached = 2 * llm["num_layers"] * kv * (past + sequence)
    values = cached + sequence * (hidden + embed) + rows * llm["vocab_size"]
    assert found.io_bytes == 4 * values + 8 * (sequence + 2 * rows), "positions, rows asked for, next ids"


def test_a_graph_behind_links_costs_the_same(phi3_bundle: Path, tmp_path: Path) -> None:
    linked, axes = each_apart(phi3_bundle, tmp_path), {"batch": 1, "conditions": 2}
    assert cost(linked / "mask_decoder.onnx", axes) == cost(phi3_bundle / "mask_decoder.onnx", axes)


def test_a_graph_without_the_size_of_an_axis(phi3_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="past"):
        cost(phi3_bundle / "llm.onnx", {"batch": 1, "sequence": 1, "rows": 1})
    (tmp_path / "g.onnx").write_bytes(b"\xff\xff no graph")
    with pytest.raises(BundleError, match="cannot be read"):
        cost(tmp_path / "g.onnx", {})
