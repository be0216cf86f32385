"""From an FP32 graph to one of a precision plan: types and Casts, then Q/DQ nodes; weights stay in the file.

The FP32 graphs of a bundle are the starting point: their weights are transposed and computed already, so that they
are read in blocks of rows and in the layout in which they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xsam_edge.export.graph import floats
from xsam_edge.export.graph.floats import FloatTypes
from xsam_edge.export.graph.passes import WeightPlan, infer_types, initializer
from xsam_edge.export.precision.plan import FloatType, GraphNames, NodePrecision
from xsam_edge.export.quantization.qdq import Choice, insert
from xsam_edge.export.quantization.sites import graph_names
from xsam_edge.runtime.bundle import contract


@dataclass(frozen=True, eq=False)
class FileWeights:
    """The weights of a graph in its external data file, mapped."""

    tensors: Mapping[str, ir.ExternalTensor]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tuple(tensor.shape.numpy()) for name, tensor in self.tensors.items()}

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop`` along the first axis."""
        return self.tensors[name].numpy()[start:stop]


@dataclass(frozen=True, eq=False)
class OpenGraph:
    """An FP32 graph whose weights have plans instead of values; ``source`` reads them."""

    model: ir.Model
    plans: dict[str, WeightPlan]
    source: FileWeights


def open_graph(path: Path) -> OpenGraph:
    """Open an FP32 graph of a bundle."""
    model = ir.load(path)
    infer_types(model)
    tensors = stored_weights(model.graph)
    for name in tensors:
        model.graph.initializers[name].const_value = None
    return OpenGraph(model, {name: WeightPlan((name,)) for name in tensors}, FileWeights(tensors))


def stored_weights(graph: ir.Graph) -> dict[str, ir.ExternalTensor]:
    """The weights of an FP32 graph that was loaded: what lies in its data file, but for tables of indices."""
    return {
        str(name): value.const_value
        for name, value in graph.initializers.items()
        if isinstance(value.const_value, ir.ExternalTensor) and value.dtype == ir.DataType.FLOAT
    }


def node_names(bundle: Path) -> dict[str, tuple[str, ...]]:
    """Names of the nodes of a bundle's graphs, by graph."""
    return {name: tuple(str(node.name) for node in ir.load(bundle / f"{name}.onnx").graph) for name in contract.GRAPHS}


def bundle_names(bundle: Path) -> GraphNames:
    """The nodes and sites of the three graphs of an FP32 bundle."""
    opened = {name: open_graph(bundle / f"{name}.onnx") for name in contract.GRAPHS}
    return graph_names({name: (graph.model.graph, graph.plans) for name, graph in opened.items()})


def lower(
    opened: OpenGraph,
    float_type: FloatType,
    precisions: Mapping[str, NodePrecision],
    ranges: Mapping[str, float],
    keep_fp32: tuple[str, ...],
) -> None:
    """Give a graph its precisions, in place.

    Args:
        opened: the FP32 graph.
        float_type: of the plan, which is that of inputs and outputs but for ``keep_fp32``.
        precisions: of every node.
        ranges: the largest magnitude of the activation of each int8 site, by its node.
        keep_fp32: inputs and outputs that are float32 in any plan.
    """
    graph = opened.model.graph
    nodes = [str(node.name) for node in graph]
    fp32 = frozenset(name for name in nodes if precisions[name].float == "fp32")
    if len(fp32) < len(nodes):
        if float_type == "fp32":  # a few nodes in FP16 inside of an FP32 graph
            keep_fp32 = tuple(str(value.name) for value in (*graph.inputs, *graph.outputs))
        floats.apply(opened.model, opened.plans, FloatTypes("fp16", fp32, keep_fp32))
    choices = {
        name: Choice(quantized, ranges.get(name, 0.0))
        for name in nodes
        if (quantized := precisions[name].quantized) is not None
    }
    insert(opened.model, opened.plans, choices, opened.source)


def inline(opened: OpenGraph) -> ir.Model:
    """Make a lowered graph that runs as it is, on the FP32 weights in their file.

    Casts and quantisation of weights become nodes, which a session evaluates once when it is opened. The values are
    those that are written for good.
    """
    graph = opened.model.graph
    first = graph[0]
    for name, value in list(graph.initializers.items()):
        if value.const_value is not None:
            continue
        plan = opened.plans[name]
        (parameter,) = plan.parameters
        if name == parameter:
            value.const_value = opened.source.tensors[name]
            continue
        original = initializer(graph, parameter, opened.source.tensors[parameter])
        assert value.dtype is not None
        if plan.quantization is None:
            node = ir.node("Cast", [original], attributes={"to": value.dtype.value})
        else:
            quantization = plan.quantization
            scale = initializer(graph, f"{name}.scale32", quantization.scale.astype(np.float32))
            zeros = ir.tensor(np.zeros(quantization.scale.shape, value.dtype.numpy()), dtype=value.dtype)
            zero = initializer(graph, f"{name}.zero", zeros)
            attributes = {"axis": quantization.axis}
            if quantization.block:
                attributes["block_size"] = quantization.block
            node = ir.node("QuantizeLinear", [original, scale, zero], attributes=attributes)
        made = node.outputs[0]
        made.type, made.shape = ir.TensorType(value.dtype), value.shape
        graph.insert_before(first, node)
        value.replace_all_uses_with(made)
        del graph.initializers[name]
        made.name = name
    return opened.model
