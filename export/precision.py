"""Precision as part of the graph: a plan of node-name patterns, applied by inserting Casts.

The graph is traced in FP32. Applying a plan gives every node one precision; weights take that of the nodes that use
them, and a Cast stands on every edge between precisions. Nothing is left to a builder's flags: a strongly typed
network computes what the file says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import onnx_ir as ir

from xsam_edge.export.graph_passes import WeightPlan
from xsam_edge.export.precisions import Precision

_TYPES = {"fp32": ir.DataType.FLOAT, "fp16": ir.DataType.FLOAT16}

# Operators that move values without computing: they keep the precision of what they move.
_MOVES = {
    "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip


@dataclass(frozen=True)
class PrecisionPlan:
    """``default`` for all nodes, but ``fp32`` for those whose name matches one of the patterns.

    ``keep_outputs`` are outputs that are float32 at any precision: what the host reads.
    """

    default: Precision
    fp32: tuple[str, ...] = ()
    keep_fp32: tuple[str, ...] = ()  # graph inputs and outputs


# Operators whose float32 output is part of their definition, and inputs that stay float32 whatever the data is.
_PRODUCE_FP32 = {"Cast", "ConstantOfShape", "EyeLike"}
_FP32_INPUTS = {"Resize": (1, 2)}  # roi and scales

# Where FP16 is not enough, and why. Those of the mask head cost 3% of the work in FP32; with them the masks of the
# recorded references keep an IoU of 0.99 with FP32, without them some fall to 0.98.
FP32_ISLANDS = (
    "**/*norm*/*",  # mean and variance: squares of activations overflow (SAM's and the LLM's residuals reach thousands)
    "**/*Normalization*",  # the same where a norm stands in a numbered list of modules
    "**/layers.*/Add*",  # residual streams: sums of all layers, where FP16 would overflow first and round most often
    "**/Softmax*",  # sums of exponentials
    "**/rotary/*",  # angles: position x frequency needs more than 11 bits from position 2,048 on
    "/seg_connector/**",
    "/segmentor/pixel_decoder/**",  # and in it pixel coordinates, which FP16 rounds to sixteenths
    "/segmentor/decoder/**",  # its attention masks are signs of logits: a rounding flips a pixel for good
    "/segmentor/class_predictor/**",  # cosine and a scale of up to e^6
)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """A node-name pattern: ``*`` stands for any part of one path component, ``**`` for any components."""
    parts = re.split(r"(\*\*|\*)", text)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts))


def matches(pattern: str, name: str) -> bool:
    """Whether a node's name is one of those that a pattern means."""
    return _pattern(pattern).fullmatch(name) is not None


def plan_for(precision: Precision, keep_fp32: Iterable[str]) -> PrecisionPlan:
    """The preset plan of a precision."""
    return PrecisionPlan(precision, FP32_ISLANDS if precision != "fp32" else (), tuple(keep_fp32))


def apply(model: ir.Model, plans: dict[str, WeightPlan], plan: PrecisionPlan) -> None:
    """Give every floating-point value of a typed FP32 graph its precision, in place.

    ``plans`` gains an entry for each weight that is used in two precisions.
    """
    if plan.default == "fp32":
        return
    graph = model.graph
    wanted: dict[ir.Node, ir.DataType] = {}
    produced: dict[ir.Value, ir.DataType] = {}
    default = _TYPES[plan.default]
    for value in graph.inputs:
        if value.dtype == ir.DataType.FLOAT:
            produced[value] = ir.DataType.FLOAT if value.name in plan.keep_fp32 else default
            value.type = ir.TensorType(produced[value])
    for node in graph:
        wanted[node] = _node_type(node, plan, produced, default)
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                produced[value] = wanted[node]
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in list(graph):
        for index, value in enumerate(node.inputs):
            if value is None or index in _FP32_INPUTS.get(node.op_type, ()):
                continue
            if value.is_initializer():
                if value.dtype == ir.DataType.FLOAT and wanted[node] != ir.DataType.FLOAT:
                    node.replace_input_with(index, _typed_initializer(graph, plans, value, wanted[node], casts))
            elif value in produced and produced[value] != wanted[node]:
                node.replace_input_with(index, _cast(graph, node, value, wanted[node], casts))
        for value in node.outputs:
            if value in produced:
                value.type = ir.TensorType(produced[value])
    _type_outputs(graph, plan, produced, default)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
            plans.pop(name, None)


def _node_type(
    node: ir.Node, plan: PrecisionPlan, produced: dict[ir.Value, ir.DataType], default: ir.DataType
) -> ir.DataType:
    if any(matches(pattern, str(node.name)) for pattern in plan.fp32):
        return ir.DataType.FLOAT
    if node.op_type in _PRODUCE_FP32:
        return ir.DataType.FLOAT  # positions and masks; a consumer in FP16 gets a Cast of its own
    if node.op_type in _MOVES:
        moved = {produced[value] for value in node.inputs if value in produced}
        if len(moved) == 1:
            return moved.pop()
    return default


def _typed_initializer(
    graph: ir.Graph,
    plans: dict[str, WeightPlan],
    value: ir.Value,
    dtype: ir.DataType,
    made: dict[tuple[ir.Value, ir.DataType], ir.Value],
) -> ir.Value:
    if (value, dtype) in made:
        return made[value, dtype]
    name = f"{value.name}.{dtype.short_name()}"
    tensor = None
    if value.const_value is not None:
        tensor = ir.tensor(value.const_value.numpy().astype(dtype.numpy()), name=name)
    else:
        plans[name] = plans[str(value.name)]
    typed = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype), const_value=tensor)
    graph.initializers[name] = typed
    made[value, dtype] = typed
    return typed


def _cast(
    graph: ir.Graph,
    before: ir.Node,
    value: ir.Value,
    dtype: ir.DataType,
    made: dict[tuple[ir.Value, ir.DataType], ir.Value],
) -> ir.Value:
    if (value, dtype) not in made:
        made[value, dtype] = _insert_cast(graph, value, dtype, before).outputs[0]
    return made[value, dtype]


def _insert_cast(graph: ir.Graph, value: ir.Value, dtype: ir.DataType, before: ir.Node | None) -> ir.Node:
    name = f"/{str(value.name).removeprefix('/')}/to_{dtype.short_name()}"
    node = ir.node("Cast", [value], attributes={"to": dtype.value}, name=name)
    output = node.outputs[0]
    output.name, output.type, output.shape = f"{name}_output_0", ir.TensorType(dtype), value.shape
    if before is None:
        graph.append(node)
    else:
        graph.insert_before(before, node)
    return node


def _type_outputs(
    graph: ir.Graph, plan: PrecisionPlan, produced: dict[ir.Value, ir.DataType], default: ir.DataType
) -> None:
    for index, value in enumerate(graph.outputs):
        if value not in produced:
            continue
        target = ir.DataType.FLOAT if value.name in plan.keep_fp32 else default
        if produced[value] == target:
            continue
        name = value.name
        value.name = f"{name}_before_cast"
        node = _insert_cast(graph, value, target, None)
        node.outputs[0].name = name
        graph.outputs[index] = node.outputs[0]
