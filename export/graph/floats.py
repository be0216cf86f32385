"""Floating-point types as part of the graph: FP16 where a plan says so, Casts on the edges.

The graph is traced in FP32. Every node gets one type; weights take that of the nodes that use
them, and a Cast stands on every edge between precisions. Nothing is left to a builder's flags: a strongly typed
network computes what the file says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from xsam_edge.export.graph.passes import WeightPlan
from xsam_edge.export.graph.weights import cast
from xsam_edge.export.precision.plan import FloatType

_TYPES = {"fp32": ir.DataType.FLOAT, "fp16": ir.DataType.FLOAT16}

# Operators that move values without computing: they keep the precision of what they move.
MOVES = {
    "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip


@dataclass(frozen=True)
class FloatTypes:
    """``default`` for all nodes but those named in ``fp32``.

    ``keep_fp32`` are graph inputs and outputs that are float32 at any precision: what the host reads and writes.
    """

    default: FloatType
    fp32: frozenset[str] = frozenset()
    keep_fp32: tuple[str, ...] = ()


# Operators whose float32 output is part of their definition, and inputs that stay float32 whatever the data is.
_PRODUCE_FP32 = {"Cast", "ConstantOfShape", "EyeLike"}
_FP32_INPUTS = {"Resize": (1, 2)}  # roi and scales
# Operators that ONNX Runtime has no FP16 of on a CPU, and whose result is the same in either.
_RUN_IN_FP32 = {"ArgMax"}


def apply(model: ir.Model, plans: dict[str, WeightPlan], types: FloatTypes) -> None:
    """Give every floating-point value of a typed FP32 graph its type, in place.

    ``plans`` gains an entry for each weight that is used in two precisions.

    Raises:
        CheckpointError: a constant that FP16 cannot hold.
    """
    if types.default == "fp32":
        return
    graph = model.graph
    wanted: dict[ir.Node, ir.DataType] = {}
    produced: dict[ir.Value, ir.DataType] = {}
    default = _TYPES[types.default]
    for value in graph.inputs:
        if value.dtype == ir.DataType.FLOAT:
            produced[value] = ir.DataType.FLOAT if value.name in types.keep_fp32 else default
            value.type = ir.TensorType(produced[value])
    for node in graph:
        wanted[node] = _node_type(node, types, produced, default)
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                produced[value] = wanted[node]
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in list(graph):
        for index, source in enumerate(node.inputs):
            if source is None or index in _FP32_INPUTS.get(node.op_type, ()):
                continue
            if source.is_initializer():
                if source.dtype == ir.DataType.FLOAT and wanted[node] != ir.DataType.FLOAT:
                    node.replace_input_with(index, _typed_initializer(graph, plans, source, wanted[node], casts))
            elif source in produced and produced[source] != wanted[node]:
                node.replace_input_with(index, _cast(graph, node, source, wanted[node], casts))
        for value in node.outputs:
            if value in produced:
                value.type = ir.TensorType(produced[value])
    _type_outputs(graph, types, produced, default)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
            plans.pop(name, None)


def _node_type(
    node: ir.Node, types: FloatTypes, produced: dict[ir.Value, ir.DataType], default: ir.DataType
) -> ir.DataType:
    if node.name in types.fp32 or node.op_type in _RUN_IN_FP32:
        return ir.DataType.FLOAT
    if node.op_type in _PRODUCE_FP32:
        return ir.DataType.FLOAT  # positions and masks; a consumer in FP16 gets a Cast of its own
    if node.op_type in MOVES:
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
        tensor = ir.tensor(cast(value.const_value.numpy(), np.dtype(dtype.numpy()), str(value.name)), name=name)
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
    graph: ir.Graph, types: FloatTypes, produced: dict[ir.Value, ir.DataType], default: ir.DataType
) -> None:
    for index, value in enumerate(graph.outputs):
        if value not in produced:
            continue
        target = ir.DataType.FLOAT if value.name in types.keep_fp32 else default
        if produced[value] == target:
            continue
        name = value.name
        value.name = f"{name}_before_cast"
        node = _insert_cast(graph, value, target, None)
        node.outputs[0].name = name
        graph.outputs[index] = node.outputs[0]
