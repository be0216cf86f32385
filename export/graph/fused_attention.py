"""Attention as one operator of ONNX Runtime's own, for its CUDA provider.

ONNX Runtime fuses no attention of this kind by itself: its kernels (flash, memory-efficient and cuDNN attention) are
behind ``com.microsoft.MultiHeadAttention`` (docs/ContribOperators.md of ONNX Runtime). Where the graph multiplies,
biases, normalises and multiplies [B, heads, S, T] scores, that operator takes their place; queries, keys and values
come to it as [B, tokens, heads * head size], which is how projections leave them. It computes the softmax in FP32,
whatever type it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from xsam_edge.export.graph.passes import drop_unused_initializers, initializer

DOMAIN = "com.microsoft"
_HEADS_SECOND, _TRANSPOSED = (0, 2, 1, 3), (0, 2, 3, 1)


@dataclass(frozen=True, eq=False)
class Pattern:
    """The nodes of one attention: ``scores`` = query x transposed keys, ``bias`` if there is one, ``mixed``."""

    scores: ir.Node
    bias: ir.Value | None
    softmax: ir.Node
    mixed: ir.Node


def fuse_attention(model: ir.Model) -> int:
    """Put the operator in the place of every attention of a typed graph, in place; returns how many there were."""
    graph = model.graph
    found = [pattern for node in graph if (pattern := _pattern(node)) is not None]
    for pattern in found:
        _replace(graph, pattern)
    if found:
        graph.opset_imports[DOMAIN] = 1
        RemoveUnusedNodesPass()(model)
        drop_unused_initializers(graph)
    return len(found)


def _pattern(softmax: ir.Node) -> Pattern | None:
    if softmax.op_type != "Softmax":
        return None
    above, below = _uncast(softmax.inputs[0]), _reader(softmax.outputs[0])
    while below is not None and below.op_type == "Cast":
        below = _reader(below.outputs[0])
    bias = None
    if above is not None and above.op_type == "Add":
        products = [_product(_uncast(value)) for value in above.inputs]
        bias = above.inputs[1 if products[0] is not None else 0]
        above = products[0] or products[1]
    above, below = _product(above), _product(below)
    if above is None or below is None:
        return None
    keys, values = above.inputs[1], below.inputs[1]
    if _uncast(below.inputs[0]) is not softmax or keys is None or values is None or keys.is_initializer():
        return None
    ranks = [None if value is None or value.shape is None else len(value.shape) for value in (above.inputs[0], values)]
    return Pattern(above, bias, softmax, below) if ranks == [4, 4] else None


def _product(node: ir.Node | None) -> ir.Node | None:
    return node if node is not None and node.op_type == "MatMul" else None


def _uncast(value: ir.Value | None) -> ir.Node | None:
    """The node that computes a value, Casts left out."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type == "Cast":
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    return node


def _reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value; None where there are several, or somebody outside of the graph."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _replace(graph: ir.Graph, pattern: Pattern) -> None:
    query, keys = pattern.scores.inputs
    values, mixed = pattern.mixed.inputs[1], pattern.mixed.outputs[0]
    assert query is not None and keys is not None and values is not None and mixed.dtype is not None
    name = str(pattern.softmax.name).rpartition("/")[0]
    new = _Nodes(graph, pattern.mixed, name, mixed.dtype)
    heads, size = _static(query, 1), _static(values, 3)
    rows = [
        new.tokens_first(query, _HEADS_SECOND),
        new.tokens_first(keys, _TRANSPOSED),
        new.tokens_first(values, _HEADS_SECOND),
    ]
    inputs: list[ir.Value | None] = [*rows]
    if pattern.bias is not None:
        inputs += [None, None, new.four_axes(pattern.bias)]
    # Queries are scaled already, as the graph has it.
    attended = new.node("MultiHeadAttention", inputs, {"num_heads": heads, "scale": 1.0}, domain=DOMAIN)
    shape = new.constant("heads", np.array([0, 0, heads, size], np.int64))
    apart = new.node("Reshape", [attended, shape])
    apart.shape = ir.Shape([None, None, heads, size])
    reader = _reader(mixed)
    if reader is not None and _perm(reader) == _HEADS_SECOND:
        reader.outputs[0].replace_all_uses_with(apart)
    else:
        mixed.replace_all_uses_with(new.node("Transpose", [apart], {"perm": list(_HEADS_SECOND)}))


class _Nodes:
    """Makes nodes before another, whose results have one type."""

    def __init__(self, graph: ir.Graph, before: ir.Node, name: str, dtype: ir.DataType) -> None:
        self._graph, self._before, self._name, self._dtype = graph, before, name, dtype
        self._count = 0

    def node(
        self,
        op: str,
        inputs: list[ir.Value | None],
        attributes: dict[str, int | float | list[int]] | None = None,
        domain: str = "",
    ) -> ir.Value:
        name = f"{self._name}/attention" + (f"/{op}_{self._count}" if not domain else "")
        self._count += 1
        node = ir.node(op, inputs, attributes=attributes, domain=domain, name=name)
        node.outputs[0].name, node.outputs[0].type = f"{name}_output_0", ir.TensorType(self._dtype)
        self._graph.insert_before(self._before, node)
        return node.outputs[0]

    def constant(self, what: str, value: np.ndarray) -> ir.Value:
        return initializer(self._graph, f"{self._name}/attention/{what}", value)

    def tokens_first(self, value: ir.Value, perm: tuple[int, ...]) -> ir.Value:
        """[B, tokens, heads * size] of what is [B, heads, tokens, size] by the axes of ``perm``, or its transpose.

        The Transpose that made it is undone, not repeated.
        """
        value = self._typed(value)
        producer = value.producer()
        if producer is not None and _perm(producer) == perm:
            assert producer.inputs[0] is not None
            rows = producer.inputs[0]
        else:
            rows = self.node("Transpose", [value], {"perm": [0, 2, 1, 3] if perm == _HEADS_SECOND else [0, 3, 1, 2]})
        width = _static(value, 1) * _static(value, 3 if perm == _HEADS_SECOND else 2)
        return self.node("Reshape", [rows, self.constant(f"width_{width}", np.array([0, 0, width], np.int64))])

    def four_axes(self, bias: ir.Value) -> ir.Value:
        """A bias as [1 or B, 1 or heads, S, T]."""
        bias = self._typed(bias)
        assert bias.shape is not None
        if missing := 4 - len(bias.shape):
            axes = self.constant(f"axes_{missing}", np.arange(missing, dtype=np.int64))
            bias = self.node("Unsqueeze", [bias, axes])
        return bias

    def _typed(self, value: ir.Value) -> ir.Value:
        if value.dtype == self._dtype:
            return value
        node = value.producer()
        source = node.inputs[0] if node is not None and node.op_type == "Cast" else None
        if source is not None and source.dtype == self._dtype:
            return source
        cast = self.node("Cast", [value], {"to": self._dtype.value})
        cast.shape = value.shape
        return cast


def _perm(node: ir.Node) -> tuple[int, ...] | None:
    return tuple(node.attributes["perm"].as_ints()) if node.op_type == "Transpose" else None


def _static(value: ir.Value, axis: int) -> int:
    assert value.shape is not None
    size = value.shape[axis]
    if not isinstance(size, int):
        raise AssertionError(f"axis {axis} of {value.name} is {size}; heads of an attention have fixed sizes")
    return size
