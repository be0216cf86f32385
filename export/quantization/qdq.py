"""Explicit quantisation: Q and DQ nodes before products, in a graph whose floating-point types are set.

Placement is what NVIDIA's compiler fuses into a product: an activation gets one pair for the whole tensor, a weight
int8 or fp8 codes with a DQ per output channel (or int4 codes with a DQ of blocks). Outputs, biases, residuals and norms
are left alone. Readers of one tensor share its scale, but each has its own pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from xsam_edge.export.graph.passes import WeightPlan, initializer
from xsam_edge.export.graph.weight_codes import LIMITS, WeightQuantization, block_scales, channel_scales, stored
from xsam_edge.export.graph.weights import WeightSource, read_blocks
from xsam_edge.export.precision.plan import Quantized
from xsam_edge.export.quantization.sites import Site, find_sites
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Progress, Step, silent

INT4_OPSET = 21  # blocks and 4-bit types; int8 and fp8 need no more than 19, FP16 scales included
TYPES: Mapping[Quantized, ir.DataType] = {
    "int8": ir.DataType.INT8,
    "int4": ir.DataType.INT4,
    "fp8": ir.DataType.FLOAT8E4M3FN,
}


@dataclass(frozen=True)
class Choice:
    """For one site: ``int8`` or ``fp8`` with the range of its activation, or ``int4`` weights in blocks."""

    precision: Quantized
    amax: float = 0.0


def insert(
    model: ir.Model,
    plans: dict[str, WeightPlan],
    choices: Mapping[str, Choice],
    source: WeightSource,
    progress: Progress = silent,
) -> list[str]:
    """Quantise the sites that ``choices`` names by their nodes, in place, and return the names of their Q/DQ nodes.

    ``plans`` loses the weights that are no longer used in floating point and gains their codes. Scales are constants
    of the graph.

    Raises:
        CheckpointError: a weight or a range that the type of the product cannot hold a scale of.
    """
    graph = model.graph
    made: list[str] = []
    chosen = [site for site in find_sites(graph, plans) if str(site.node.name) in choices]
    for done, site in enumerate(chosen):
        progress(Step("scales", done, len(chosen), "products"))
        choice = choices[str(site.node.name)]
        try:
            if choice.precision != "int4":
                site.node.replace_input_with(0, _activation(graph, site, choice, made))
            # ONNX Runtime folds a weight's DQ into a product only where that is its one reader.
            site.node.replace_input_with(1, _weight(graph, plans, site, choice, source, made))
        except ValueError as error:
            raise CheckpointError(f"{site.node.name} cannot be quantised: {error}; give it fp32 in a plan") from None
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
            plans.pop(name, None)
    if any(choice.precision == "int4" for choice in choices.values()):
        graph.opset_imports[""] = max(graph.opset_imports[""], INT4_OPSET)
    return made


def _activation(graph: ir.Graph, site: Site, choice: Choice, made: list[str]) -> ir.Value:
    """A pair of one's own for each reader, of one scale, in the tensor's own type.

    ONNX Runtime turns a pair into unsigned codes, which its fast kernels need, only where nothing else reads them.
    Quantising the FP32 source of a Cast would save a node, but pairs of two types fail in some of NVIDIA's compilers.
    """
    value, dtype = site.activation, site.activation.dtype
    assert dtype is not None and value.name is not None
    step = stored(np.array([choice.amax / LIMITS[choice.precision]]), dtype.numpy())[0]
    name = f"/{value.name.removeprefix('/')}/scale{_suffix(choice.precision)}"
    scale = initializer(graph, name, np.array(step, dtype.numpy()))
    zero = zero_point(graph, choice.precision)  # without it Q makes uint8
    codes = _node(graph, site.node, "QuantizeLinear", [value, scale, zero], "q", {}, made)
    codes.type, codes.shape = ir.TensorType(TYPES[choice.precision]), value.shape
    result = _node(graph, site.node, "DequantizeLinear", [codes, scale, zero], "dq", {}, made)
    result.type, result.shape = ir.TensorType(dtype), value.shape
    return result


def _weight(
    graph: ir.Graph,
    plans: dict[str, WeightPlan],
    site: Site,
    choice: Choice,
    source: WeightSource,
    made: list[str],
) -> ir.Value:
    weight, dtype = site.weight, site.activation.dtype
    assert dtype is not None and weight.shape is not None
    (parameter,) = plans[str(weight.name)].parameters
    # The type is a part of the name: a shared weight may be read by products of two types, which need two scales.
    name = f"{parameter}.{choice.precision}" + ("" if dtype == ir.DataType.FLOAT else f".{dtype.short_name()}")
    if name not in plans:
        chosen = _quantization(site, choice.precision, dtype, parameter, source)
        plans[name] = WeightPlan((parameter,), quantization=chosen)
        kind = ir.TensorType(TYPES[choice.precision])
        graph.initializers[name] = ir.Value(name=name, shape=weight.shape, type=kind)
    quantization = plans[name].quantization
    assert quantization is not None
    attributes = {"axis": quantization.axis}
    inputs = [graph.initializers[name], initializer(graph, f"{name}.scale", quantization.scale)]
    if quantization.block:
        attributes["block_size"] = quantization.block
    else:
        # Some kernels and rewrites of ONNX Runtime want zero points of the scale's shape. One for each size serves all.
        inputs.append(zero_point(graph, choice.precision, quantization.scale.size))
    result = _node(graph, site.node, "DequantizeLinear", inputs, "weight", attributes, made)
    result.type, result.shape = ir.TensorType(dtype), weight.shape
    return result


def _quantization(
    site: Site, precision: Quantized, dtype: ir.DataType, parameter: str, source: WeightSource
) -> WeightQuantization:
    shape = source.shapes[parameter]
    if precision != "int4":
        axis = site.outputs_axis
        scale = channel_scales(read_blocks(source, parameter), shape, axis, dtype.numpy(), precision)
        return WeightQuantization(precision, axis, scale)
    block = site.int4_block
    scale = block_scales(read_blocks(source, parameter, block), shape, block, dtype.numpy())
    return WeightQuantization("int4", site.inputs_axis, scale, block)


def zero_point(graph: ir.Graph, precision: Quantized, size: int | None = None) -> ir.Value:
    """Zeros for one scale, or for ``size`` of them."""
    name = f"zero_point{_suffix(precision)}" + ("" if size is None else f".{size}")
    return initializer(graph, name, np.zeros(() if size is None else size, TYPES[precision].numpy()))


def _suffix(precision: Quantized) -> str:
    """What tells names of one type from those of another in a graph that has both."""
    return "" if precision == "int8" else f".{precision}"


def _node(
    graph: ir.Graph,
    before: ir.Node,
    op: str,
    inputs: list[ir.Value],
    suffix: str,
    attributes: dict[str, int],
    made: list[str],
) -> ir.Value:
    node = ir.node(op, inputs, attributes=attributes or None, name=f"{before.name}/{suffix}")
    node.outputs[0].name = node.name  # short: names are a good part of a small graph's file
    graph.insert_before(before, node)
    made.append(str(node.name))
    return node.outputs[0]
