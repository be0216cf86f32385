"""From an FP32 graph to one of a precision plan: types and Casts, then Q/DQ nodes; weights stay in the file.

The FP32 graphs of a bundle are the starting point: their weights are transposed and computed already, so that they
are read in blocks of rows and in the layout in which they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xsam_edge.calibration.stored_weights import StoredWeight, load_graph, store, stored_weights
from xsam_edge.export.graph import floats
from xsam_edge.export.graph.floats import FloatTypes
from xsam_edge.export.graph.passes import WeightPlan, infer_types
from xsam_edge.export.graph.weights import cast, read_blocks
from xsam_edge.export.precision.plan import FloatType, GraphNames, NodePrecision
from xsam_edge.export.quantization.kv_cache import CacheCodes, quantize_cache
from xsam_edge.export.quantization.qdq import Choice, insert
from xsam_edge.export.quantization.sites import graph_names
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class FileWeights:
    """The weights of a graph in its external data file, mapped."""

    tensors: dict[str, StoredWeight]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tensor.sizes for name, tensor in self.tensors.items()}

    def dtype(self, _name: str) -> str:
        """See :class:`~xsam_edge.export.graph.weights.WeightSource`."""
        return "float32"

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop`` along the first axis."""
        return self.tensors[name].rows(start, stop)


@dataclass(frozen=True, eq=False)
class OpenGraph:
    """The FP32 graph in the file ``path``, whose weights have plans instead of values; ``source`` reads them."""

    path: Path
    model: ir.Model
    plans: dict[str, WeightPlan]
    source: FileWeights


def open_graph(path: Path) -> OpenGraph:
    """Open an FP32 graph of a bundle."""
    model = load_graph(path)
    infer_types(model)
    tensors = dict(stored_weights(model.graph))
    for name in tensors:
        model.graph.initializers[name].const_value = None
    return OpenGraph(path, model, {name: WeightPlan((name,)) for name in tensors}, FileWeights(tensors))


def save_weights(opened: OpenGraph) -> None:
    """Write the factors of weights into the graph's file."""
    model = load_graph(opened.path)
    for name, tensor in opened.source.tensors.items():
        model.graph.initializers[name].const_value = tensor
    store(model)
    ir.save(model, opened.path)


def node_names(bundle: Path) -> dict[str, tuple[str, ...]]:
    """Names of the nodes of a bundle's graphs, by graph."""
    graphs = {name: load_graph(bundle / f"{name}.onnx").graph for name in contract.GRAPHS}
    return {name: tuple(str(node.name) for node in graph) for name, graph in graphs.items()}


def weight_bytes(bundle: Path) -> dict[str, int]:
    """Bytes of the weights of an FP32 bundle's graphs as float32, by their data files."""
    tensors = {name: stored_weights(load_graph(bundle / f"{name}.onnx").graph) for name in contract.GRAPHS}
    return {f"{name}.onnx.data": sum(4 * item.size for item in own.values()) for name, own in tensors.items()}


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
    progress: Progress = silent,
    *,
    cache: CacheCodes | None = None,
) -> None:
    """Give a graph its precisions, in place.

    Args:
        opened: the FP32 graph.
        float_type: of the plan, which is that of inputs and outputs but for ``keep_fp32``.
        precisions: of every node.
        ranges: the largest magnitude of the activation of each int8 and fp8 site, by its node.
        keep_fp32: inputs and outputs that are float32 in any plan.
        progress: told of each product that is quantised, whose weight is read for its scales.
        cache: what keys and values are stored as; None: as the floats that they are.
    """
    graph = opened.model.graph
    nodes = [str(node.name) for node in graph]
    fp32 = frozenset(name for name in nodes if precisions[name].float == "fp32")
    if float_type == "fp16" or len(fp32) < len(nodes):
        if float_type == "fp32":  # a few nodes in FP16 inside of an FP32 graph
            keep_fp32 = tuple(str(value.name) for value in (*graph.inputs, *graph.outputs))
        floats.apply(opened.model, opened.plans, FloatTypes("fp16", fp32, keep_fp32))
    choices = {
        name: Choice(quantized, ranges.get(name, 0.0))
        for name in nodes
        if (quantized := precisions[name].quantized) is not None
    }
    insert(opened.model, opened.plans, choices, opened.source, progress)
    if cache is not None:
        quantize_cache(graph, cache)


def fill_weights(opened: OpenGraph) -> ir.Model:
    """Give the weights of a lowered graph the values that are written for good, each made when it is asked for."""
    for name, value in opened.model.graph.initializers.items():
        if value.const_value is not None:
            continue
        plan = opened.plans[name]
        (parameter,) = plan.parameters
        assert value.dtype is not None and value.shape is not None
        if name == parameter:
            value.const_value = opened.source.tensors[name]
        else:
            make = partial(_typed_weight, plan, opened.source, parameter, value.dtype)
            value.const_value = ir.LazyTensor(make, value.dtype, value.shape, name=name)
    return opened.model


def _typed_weight(plan: WeightPlan, source: FileWeights, parameter: str, dtype: ir.DataType) -> ir.TensorProtocol:
    kind = np.dtype(dtype.numpy())
    quantization = plan.quantization
    if quantization is None:
        return ir.tensor(np.concatenate([cast(rows, kind, parameter) for _, rows in read_blocks(source, parameter)]))
    blocks = read_blocks(source, parameter, quantization.block or 1)
    codes = np.concatenate([quantization.codes(rows, start) for start, rows in blocks])
    return ir.tensor(codes.astype(kind), dtype=dtype)
