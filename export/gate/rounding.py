"""What a strongly typed engine computes, on a CPU: every FP16 value is rounded, arithmetic is in FP32.

ONNX Runtime has few FP16 kernels on a CPU. It runs other nodes in FP32 behind Casts of its own and drops those that
meet, so that a value which a GPU rounds to infinity passes through whole. Casts of the graph itself it keeps. Here each
node with FP16 in it becomes one of FP32, with a pair of Casts behind each result that FP16 may not hold. So sums are
those of kernels with FP32 accumulators, and what lies between two nodes is FP16: infinite beyond 65,504, coarse below
6e-5, rounded to the nearest, ties to even.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from xsam_edge.export.graph.floats import MOVES
from xsam_edge.export.graph.passes import INLINE_BYTES, initializer

Array = npt.NDArray[np.float32]

HALF, SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT
# Operators whose results are among the values that they are given, up to a sign: what was rounded stays so.
_EXACT = MOVES | {"Abs", "Clip", "Max", "MaxPool", "Min", "Neg", "ReduceMax", "ReduceMin", "Relu", "Where"}
# Operators that name the type of their result themselves.
_NAMED = {"Cast", "ConstantOfShape", "EyeLike"}


def round_halves(model: ir.Model) -> None:
    """Make a typed graph compute what an engine of it would, in place; inputs and outputs keep their types.

    Weights in FP16, and codes whose scales are FP16, become float32 tensors of the same values, which are made when
    they are read. Values keep their names: what was FP16 is float32 now, and rounded.
    """
    graph = model.graph
    rounding, nodes = _Rounding(graph), list(graph)
    for value in graph.inputs:
        rounding.take_input(value)
    for node in nodes:
        rounding.take(node)
    rounding.finish()
    RemoveUnusedNodesPass()(model)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in graph.outputs:
            del graph.initializers[name]


class _Rounding:
    """``single`` has the float32 value that stands for each FP16 one that was seen."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.single: dict[ir.Value, ir.Value] = {}
        self.outputs = {value for value in graph.outputs if value.dtype == HALF}

    def take_input(self, value: ir.Value) -> None:
        """Read a graph's FP16 input as float32."""
        if value.dtype == HALF:
            node, wide = _cast(value, SINGLE, f"{value.name}\tsingle")
            self.graph.insert_before(self.graph[0], node)
            self.single[value] = wide

    def take(self, node: ir.Node) -> None:
        """Let a node compute in FP32, and round what it makes. Nodes come in the order of the graph."""
        if self._take_weight(node):
            return
        halves = [value for value in node.outputs if value.dtype == HALF]
        rounded = True
        for index, source in enumerate(node.inputs):
            if source is None:
                continue
            if source.dtype == HALF and source.is_initializer():
                self._take_constant(source)
            if source in self.single:
                node.replace_input_with(index, self.single[source])
            elif source.dtype == SINGLE:
                rounded = False
        for value in halves:
            self._round(node, value, exact=rounded and node.op_type in _EXACT)

    def finish(self) -> None:
        """Give back in FP16 what is rounded, but float32 by now."""
        for index, value in enumerate(self.graph.outputs):
            if value in self.outputs and value.dtype != HALF:
                name, value.name = str(value.name), f"{value.name}\tsingle"
                node, half = _cast(value, HALF, name)
                self.graph.append(node)
                self.graph.outputs[index] = half

    def _round(self, node: ir.Node, value: ir.Value, *, exact: bool) -> None:
        name = str(value.name)
        if node.op_type in _NAMED:
            half, after = value, node
            if value not in self.outputs:
                value.name = f"{name}\thalf"
        else:
            value.type = ir.TensorType(SINGLE)
            if exact:
                self.single[value] = value
                return
            is_output = value in self.outputs
            value.name = f"{name}\tunrounded"
            after, half = _cast(value, HALF, name if is_output else f"{name}\thalf")
            self.graph.insert_after(node, after)
            if is_output:
                self.graph.outputs[[item is value for item in self.graph.outputs].index(True)] = half
                self.outputs = self.outputs - {value} | {half}
        widen, wide = _cast(half, SINGLE, f"{name}\tsingle" if half in self.outputs else name)
        self.graph.insert_after(after, widen)
        self.single[value] = wide

    def _take_constant(self, value: ir.Value) -> None:
        if value in self.single:
            return
        tensor, name = value.const_value, f"{value.name}\tsingle"
        assert tensor is not None

        def make() -> Array:
            return np.asarray(tensor.numpy()).astype(np.float32)

        small = tensor.nbytes <= INLINE_BYTES
        self.single[value] = initializer(self.graph, name, make() if small else _lazy(name, tensor.shape, make))

    def _take_weight(self, node: ir.Node) -> bool:
        """Take a weight's codes with FP16 scales; whether the node was that."""
        if node.op_type != "DequantizeLinear" or node.outputs[0].dtype != HALF:
            return False
        codes, scale = node.inputs[0], node.inputs[1]
        assert codes is not None and scale is not None
        if not codes.is_initializer():
            return False
        name = f"{codes.name}\tsingle"
        assert codes.const_value is not None
        weight = _lazy(name, codes.const_value.shape, lambda: _dequantized(node, codes, scale))
        self.single[node.outputs[0]] = initializer(self.graph, name, weight)
        return True


def _lazy(name: str, shape: ir.ShapeProtocol, make: Callable[[], Array]) -> ir.LazyTensor:
    return ir.LazyTensor(lambda: ir.tensor(make()), SINGLE, ir.Shape(shape.numpy()), name=name)


def _dequantized(node: ir.Node, codes: ir.Value, scale: ir.Value) -> Array:
    """The weight that symmetric codes stand for, rounded to FP16; the product of both is exact in float32."""
    assert codes.const_value is not None and scale.const_value is not None
    values = np.asarray(codes.const_value.numpy()).astype(np.float32)
    steps = np.asarray(scale.const_value.numpy()).astype(np.float32)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    if "block_size" in node.attributes and node.attributes["block_size"].as_int():
        steps = np.repeat(steps, node.attributes["block_size"].as_int(), axis)
    elif steps.ndim:
        steps = steps.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    values *= steps
    return values.astype(np.float16).astype(np.float32)


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> tuple[ir.Node, ir.Value]:
    node = ir.node("Cast", [value], attributes={"to": dtype.value}, name=f"{name}\tcast")
    made = node.outputs[0]
    made.name, made.type, made.shape = name, ir.TensorType(dtype), value.shape
    return node, made
