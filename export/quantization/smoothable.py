"""Where a division of an activation per channel can be hidden: in a norm, or in the linear layer that makes it.

Three forms, all exact in floating point up to rounding: a norm's scale and bias; the outputs of a linear layer whose
result is multiplied by something (the up projection of a gated feed-forward); the outputs of a linear layer before a
ReLU, which is homogeneous. GELU and softmax let nothing through, and an activation that something else reads too, such
as a residual, cannot be divided.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from xsam_edge.export.quantization.sites import Site

# Moves that keep a tensor's last axis whole, checked one by one. Zeros that pad windows stay zeros under a scale.
_MOVES = {"Reshape", "Transpose", "Pad", "Squeeze", "Unsqueeze", "Identity", "Cast", "Slice", "Gather"}


@dataclass(frozen=True, eq=False)
class DividedWeight:
    """An initialiser that is divided, from ``start`` on along ``axis``."""

    weight: ir.Value
    axis: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class Predecessor:
    """What makes an activation: its initialisers, and the value at which the division takes effect."""

    name: str
    divided: tuple[DividedWeight, ...]
    output: ir.Value


def predecessor_of(value: ir.Value, weights: Container[str], sites: Mapping[ir.Node, Site]) -> Predecessor | None:
    """What a division of ``value`` can be folded into."""
    while (node := value.producer()) is not None:
        if node.op_type in _MOVES:
            if not keeps_last_axis(node) or node.inputs[0] is None:
                return None
            value = node.inputs[0]
            continue
        divided = _divided(node, weights, sites)
        return Predecessor(str(node.name), divided, value) if divided else None
    return None


def readers(value: ir.Value, sites: Mapping[ir.Node, Site]) -> list[Site] | None:
    """The sites that read ``value`` through moves; None if anything else does."""
    reader_sites: list[Site] = []
    queue = [value]
    while queue:
        current = queue.pop()
        if current.is_graph_output():
            return None
        for use in current.uses():
            if use.node.op_type in _MOVES and use.idx == 0 and keeps_last_axis(use.node):
                queue.append(use.node.outputs[0])
            elif use.idx == 0 and use.node in sites and sites[use.node].kind != "conv":
                reader_sites.append(sites[use.node])
            else:
                return None
    return reader_sites


def keeps_last_axis(node: ir.Node) -> bool:
    """Whether a move leaves the last axis of its input as it is."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or result.shape is None or not len(result.shape):
        return False
    if source.shape[-1] != result.shape[-1] or not isinstance(source.shape[-1], int):
        return False
    if node.op_type == "Transpose":
        return node.attributes["perm"].as_ints()[-1] == len(source.shape) - 1
    if node.op_type == "Gather":
        return node.attributes.get_int("axis", 0) % len(source.shape) != len(source.shape) - 1
    return True


def _divided(node: ir.Node, weights: Container[str], sites: Mapping[ir.Node, Site]) -> tuple[DividedWeight, ...]:
    if node.op_type == "LayerNormalization":
        values = [value for value in node.inputs[1:3] if value is not None]
        if all(value.name in weights and len(value.uses()) == 1 for value in values):
            return tuple(DividedWeight(value, 0) for value in values)
    elif node.op_type == "Mul":
        for value in node.inputs:  # the last step of an RMS norm
            if value is not None and value.name in weights and value.shape is not None and len(value.shape) == 1:
                return (DividedWeight(value, 0),) if len(value.uses()) == 1 else ()
        for value in node.inputs:
            if value is not None and (divided := _linear(value, weights, sites)):
                return divided
    elif node.op_type == "Relu" and node.inputs[0] is not None:
        return _linear(node.inputs[0], weights, sites)
    return ()


def _linear(value: ir.Value, weights: Container[str], sites: Mapping[ir.Node, Site]) -> tuple[DividedWeight, ...]:
    """Weight and bias of the linear layer whose output, or a part of it, is ``value``, if nothing else reads it."""
    start, bias = 0, None
    node = value.producer()
    if node is None or len(value.uses()) != 1:
        return ()
    if node.op_type == "Split" and node.attributes.get_int("axis", 0) in (-1, len(value.shape or ()) - 1):
        sizes = [output.shape[-1] for output in node.outputs if output.shape is not None]
        known = [size for size in sizes if isinstance(size, int)]
        if len(known) < len(sizes):
            return ()
        start = sum(known[: value.index() or 0])
        whole = node.inputs[0]
        node = whole.producer() if whole is not None and len(whole.uses()) == 1 else None
    if node is not None and node.op_type == "Add":
        inputs = [v for v in node.inputs if v is not None]
        bias = next((v for v in inputs if v.name in weights and v.shape is not None and len(v.shape) == 1), None)
        other = next((v for v in inputs if v is not bias), None)
        node = other.producer() if bias is not None and other is not None and len(other.uses()) == 1 else None
    if node is None or node not in sites or len(sites[node].weight.uses()) != 1:
        return ()
    if bias is not None and len(bias.uses()) != 1:
        return ()
    divided = [DividedWeight(sites[node].weight, sites[node].outputs_axis, start)]
    return tuple(divided + ([DividedWeight(bias, 0, start)] if bias is not None else []))
