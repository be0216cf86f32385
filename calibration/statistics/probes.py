"""Instruments a graph: beside its outputs it returns, for chosen tensors, reductions and a thin sample of rows.

Everything big stays inside of the graph: the extremes and the sum of squares of each channel over all rows, and a few
hundred rows for a histogram. The step between those rows is odd, so that on an image whose width is a power of two
they come from all columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

PARTS = ("lowest", "highest", "squares", "rows", "size")
"""What is returned of a probed tensor, see :meth:`TensorStats.add`."""

_ROWS = 256  # at least two thirds of this many rows are sampled, and less than twice as many
_REDUCTIONS = {"lowest": "ReduceMin", "highest": "ReduceMax", "squares": "ReduceSumSquare"}
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Probe:
    """A tensor to watch; ``axis`` is that of its channels, ``node`` names what makes it ("" for a graph's input)."""

    tensor: str
    channels: int
    axis: int  # from the front
    node: str = ""

    def output(self, part: str) -> str:
        """Name of the added graph output that holds one of ``PARTS``."""
        return f"{self.tensor}\t{part}"


def make_probe(value: ir.Value, axis: int) -> Probe:
    """Watch ``value``, whose channels lie on ``axis``, which may be negative.

    Raises:
        ValueError: the shape is unknown or has one axis only, or the channels are of no fixed number.
    """
    shape, name = value.shape, value.name
    if shape is None or name is None or len(shape) < 2:
        raise ValueError(f"{name} has the shape {shape}; expected a known one of at least two axes")
    axis %= len(shape)
    channels = shape[axis]
    if not isinstance(channels, int):
        raise ValueError(f"{name} has {channels} channels; expected a fixed number")
    producer = value.producer()
    return Probe(name, channels, axis, (producer.name or "") if producer is not None else "")


def instrument(model: ir.Model, probes: Iterable[Probe]) -> None:
    """Add the outputs of all probes, in place.

    Raises:
        ValueError: a tensor is not in the graph, or probed twice.
    """
    graph = model.graph
    values = {value.name: value for node in graph for value in node.outputs}
    values |= {value.name: value for value in graph.inputs}
    seen: set[str] = set()
    for probe in probes:
        if probe.tensor not in values or probe.tensor in seen:
            raise ValueError(f"{probe.tensor} is {'probed twice' if probe.tensor in seen else 'not in the graph'}")
        seen.add(probe.tensor)
        _Added(graph, probe).add(values[probe.tensor])


class _Added:
    """Adds nodes for one probe; everything is named after its tensor."""

    def __init__(self, graph: ir.Graph, probe: Probe) -> None:
        self.graph, self.probe = graph, probe

    def add(self, value: ir.Value) -> None:
        assert value.shape is not None  # make_probe has looked
        rank, channels = len(value.shape), self.probe.channels
        if value.dtype != ir.DataType.FLOAT:  # squares overflow in float16
            value = self.node("Cast", value, to=ir.DataType.FLOAT)
        others = [axis for axis in range(rank) if axis != self.probe.axis]
        axes = self.constant("axes", others)
        for part, op in _REDUCTIONS.items():
            self.output(self.node(op, value, axes, keepdims=0), part, ir.DataType.FLOAT, [channels])
        if self.probe.axis != rank - 1:
            value = self.node("Transpose", value, perm=[*others, self.probe.axis])
        rows = self.node("Reshape", value, self.constant("flat", [-1, channels]))
        size = self.node("Shape", rows, start=0, end=1)
        # size // _ROWS made odd: 2 * (size // (2 * _ROWS)) + 1
        pairs = self.node("Div", size, self.constant("twice", [2 * _ROWS]))
        step = self.node("Add", self.node("Mul", pairs, self.constant("two", [2])), self.constant("one", [1]))
        zero = self.constant("zero", [0])
        thin = self.node("Slice", rows, zero, self.constant("end", [_END]), zero, step)
        self.output(thin, "rows", ir.DataType.FLOAT, [None, channels])
        self.output(size, "size", ir.DataType.INT64, [1])

    def constant(self, what: str, values: list[int]) -> ir.Value:
        name = self.probe.output(what)
        tensor = ir.tensor(np.array(values, np.int64), name=name)
        value = ir.Value(
            name=name, shape=ir.Shape([len(values)]), type=ir.TensorType(ir.DataType.INT64), const_value=tensor
        )
        self.graph.initializers[name] = value
        return value

    def node(self, op: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        made = ir.node(op, list(inputs), attributes=attributes or None)
        self.graph.append(made)
        return made.outputs[0]

    def output(self, value: ir.Value, part: str, dtype: ir.DataType, shape: list[int | None]) -> None:
        value.name, value.type, value.shape = self.probe.output(part), ir.TensorType(dtype), ir.Shape(shape)
        self.graph.outputs.append(value)
