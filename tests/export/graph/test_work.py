from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.linked import each_apart
from xsam_edge.export.graph.work import _Counted, count, record, resolved
from xsam_edge.runtime.bundle import contract as c
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.bundle.work import Cost
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.progress import silent

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


def cost(path: Path, axes: Mapping[str, int]) -> Cost:
    return count(path).at(axes)


def cost_there(path: Path, axes: Mapping[str, int]) -> Cost:
    """Of a graph whose shapes are inferred at these sizes alone."""
    weights = [value.const_value for value in ir.load(path).graph.initializers.values() if value.const_value]
    return _Counted(path, resolved(path, axes).graph, sum(map(nbytes, weights)), {}).work().at({})


def nbytes(tensor: ir.TensorProtocol) -> int:
    return -(-tensor.size * tensor.dtype.bitwidth // 8)


def test_a_matrix_product_of_any_length(tmp_path: Path) -> None:
    path = save(tmp_path / "g.onnx", (2, "past", 32), lambda x, w: [ir.Node("", "MatMul", [x, w(32, 48)])])
    found = cost(path, {"past": 7})
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


SIZES = {
    c.LLM: [(1, 1, 0, 1), (1, 1, 9, 1), (2, 1, 9, 3), (1, 40, 0, 1), (3, 40, 0, 3), (3, 7, 50, 1), (8, 1, 300, 8)],
    c.MASK_DECODER: [(1, 1), (1, 9), (3, 2), (8, 133)],
    c.IMAGE_ENCODER: [()],
    c.PIXELS: [(480, 640, 3, 5), (1, 3, 3, 9)],
}
"""Sizes of batch, sequence, past and rows; of batch and conditions; of height, width and both numbers of taps."""


@pytest.mark.parametrize("name", ["phi3", "phi3_gpu", "phi3_pixels", "phi3_int8", "phi3_int4"])
def test_what_is_recorded_is_what_a_graph_costs_at_any_sizes(request: pytest.FixtureRequest, name: str) -> None:
    bundle: Path = request.getfixturevalue(f"{name}_bundle")
    manifest = read_manifest(bundle)
    assert manifest.work.keys() == manifest.graphs.keys()
    for graph, spec in manifest.graphs.items():
        assert manifest.work[graph].axes == spec.axes
        ordered = [axis for axis in c.AXES if axis in spec.axes]
        for sizes in SIZES[graph]:
            axes = dict(zip(ordered, sizes, strict=True))
            recorded, there = manifest.work[graph].at(axes), cost_there(bundle / spec.file, axes)
            assert recorded.flops == there.flops and recorded.uncounted == there.uncounted == ()
            assert recorded.io_bytes == there.io_bytes and recorded.weight_bytes == there.weight_bytes > 0
            if axes.get(c.PAST) == 0:  # where nothing is joined to what a backend joins all the same
                assert there.activation_bytes <= recorded.activation_bytes <= 1.1 * there.activation_bytes
            else:
                assert recorded.activation_bytes == there.activation_bytes


def test_weights_are_not_read(phi3_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "llm.onnx").write_bytes((phi3_bundle / "llm.onnx").read_bytes())
    assert count(tmp_path / "llm.onnx") == read_manifest(phi3_bundle).work["llm"]


def test_what_cannot_be_counted_is_left_out_and_logged(
    phi3_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = read_manifest(phi3_bundle).graphs
    (tmp_path / "image_encoder.onnx").write_bytes(b"\xff\xff no graph")
    (tmp_path / "mask_decoder.onnx").write_bytes((phi3_bundle / "mask_decoder.onnx").read_bytes())
    two = {name: graphs[name] for name in ("image_encoder", "mask_decoder")}
    with caplog.at_level(logging.INFO):
        assert record(tmp_path, two, silent).keys() == {"mask_decoder"}
    assert "the work of image_encoder is not recorded" in caplog.text and "cannot be read" in caplog.text


def test_a_size_that_is_no_sum_of_axes_is_refused(tmp_path: Path) -> None:
    """The flat form of x [past, past] has past * past values."""
    flat = [ir.AttrInt64("axis", 0)]
    path = save(tmp_path / "g.onnx", ("past", "past"), lambda x, w: [ir.Node("", "Flatten", [x], flat)])
    with pytest.raises(BundleError, match="is no sum of axes"):
        count(path)


def test_a_product_that_some_sizes_do_not_have_is_refused(tmp_path: Path) -> None:
    """The first ten rows of x [past, 4] are ten only where there are so many."""

    def build(x: ir.Value, w) -> list[ir.Node]:
        bounds = [ir.Node("", "Constant", [], [ir.AttrInt64s("value_ints", [n])]) for n in (0, 10, 0)]
        rows = ir.Node("", "Slice", [x, *(node.outputs[0] for node in bounds)])
        return [*bounds, rows, ir.Node("", "MatMul", [rows.outputs[0], w(4, 5)])]

    with pytest.raises(BundleError, match="another at the smallest"):
        count(save(tmp_path / "g.onnx", ("past", 4), build))


def test_what_is_not_understood_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "g.onnx", ("past", 4), lambda x, w: [ir.Node("some.domain", "Other", [x])])
    with pytest.raises(BundleError, match="shape of y cannot be told"):
        count(path)
    path = save(tmp_path / "g.onnx", ("length", 4), lambda x, w: [ir.Node("", "Relu", [x])])
    with pytest.raises(BundleError, match="axis 'length' of unknown size"):
        count(path)
    (tmp_path / "g.onnx").write_bytes(b"\xff\xff no graph")
    with pytest.raises(BundleError, match="cannot be read"):
        count(tmp_path / "g.onnx")
