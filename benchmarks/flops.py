"""What a graph has to do at given sizes: operations, bytes to move, memory for activations.

Operations are those of matrix products and convolutions, two per multiplication and addition; element-wise work is not
counted. Bytes are the least that must cross memory: each weight once, inputs and outputs once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from xsam_edge.runtime.cli.extras import remedy
from xsam_edge.runtime.errors import BundleError

if TYPE_CHECKING:
    import onnx_ir as ir

# Operators whose result is the memory of their first input.
_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


@dataclass(frozen=True)
class Cost:
    """Of one run of a graph. ``uncounted`` are operators that compute products but are not understood."""

    flops: int
    weight_bytes: int
    io_bytes: int
    activation_bytes: int  # the most that is alive at a time, in the order of the file, inputs and outputs included
    uncounted: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The least that crosses memory."""
        return self.weight_bytes + self.io_bytes


def unavailable() -> str | None:
    """Why graphs cannot be read on this machine, as on a device with the runtime alone; None where they can."""
    absent = [name for name in ("onnx_ir", "onnxscript", "onnx") if find_spec(name) is None]
    return remedy(absent[0]) if absent else None


def cost(path: Path, axes: Mapping[str, int]) -> Cost:
    """The cost of a graph file whose named axes have the sizes ``axes``; weights are not read.

    Raises:
        BundleError: the file cannot be read, or a shape cannot be told.
    """
    model = _resolved(path, axes)
    counted, uncounted = 0, Counter[str]()
    for node in model.graph:
        if node.op_type in _COUNT:
            counted += _COUNT[node.op_type](node)
        elif node.domain not in ("", "ai.onnx") or node.op_type in {"Einsum", "Attention", "LSTM", "GRU", "RNN"}:
            uncounted[node.op_type] += 1
    graph = model.graph
    weights = sum(_nbytes(value) for value in graph.initializers.values() if value.uses())
    io = sum(_nbytes(value) for value in (*graph.inputs, *graph.outputs))
    return Cost(counted, weights, io, _live_bytes(graph), tuple(f"{n} {name}" for name, n in uncounted.items()))


def _resolved(path: Path, axes: Mapping[str, int]) -> ir.Model:
    """The graph with a size for every dimension."""
    import onnx_ir as ir
    from onnxscript import optimizer

    from xsam_edge.calibration.external_weights import read_model

    try:
        model = read_model(path)
    except Exception as error:  # protobuf's own types
        raise BundleError(f"{path} cannot be read as ONNX ({type(error).__name__}); export the bundle again") from None
    graph = model.graph
    for value in (*graph.outputs, *(value for node in graph for value in node.outputs)):
        value.shape = None
    for value in graph.inputs:
        assert value.shape is not None
        try:
            value.shape = ir.Shape([axes[str(d.value)] if isinstance(d, ir.SymbolicDim) else d for d in value.shape])
        except KeyError as error:
            raise BundleError(f"{path} has an axis {error} of unknown size") from None
    level = logging.getLogger("onnx_ir").level
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        # Folds what depends on shapes only; constants above the limit, which are weights, are left alone.
        optimizer.optimize_ir(model, input_size_limit=1 << 16, output_size_limit=1 << 20, onnx_shape_inference=True)
    finally:
        logging.getLogger("onnx_ir").setLevel(level)
    return model


def _dims(value: ir.Value | None) -> tuple[int, ...]:
    dims = () if value is None or value.shape is None else tuple(d for d in value.shape if isinstance(d, int))
    if value is None or value.shape is None or len(dims) < len(value.shape):
        raise BundleError(f"the shape of {value.name if value else 'an input'} cannot be told")
    return dims


def _nbytes(value: ir.Value) -> int:
    return int(prod(_dims(value)) * value.dtype.itemsize) if value.dtype is not None else 0


def _matmul(node: ir.Node) -> int:
    return 2 * prod(_dims(node.outputs[0])) * _dims(node.inputs[0])[-1]


def _gemm(node: ir.Node) -> int:
    transposed = node.attributes["transA"].as_int() if "transA" in node.attributes else 0
    return 2 * prod(_dims(node.outputs[0])) * _dims(node.inputs[0])[0 if transposed else 1]


def _conv(node: ir.Node) -> int:
    weight = _dims(node.inputs[3 if node.op_type == "QLinearConv" else 1])  # [out, in / groups, *kernel]
    return 2 * prod(_dims(node.outputs[0])) * prod(weight[1:])


def _conv_transpose(node: ir.Node) -> int:
    weight = _dims(node.inputs[1])  # [in, out / groups, *kernel]
    return 2 * prod(_dims(node.inputs[0])) * prod(weight[1:])


_COUNT: Mapping[str, Callable[[ir.Node], int]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "MatMulNBits": lambda node: 2 * prod(_dims(node.outputs[0])) * node.attributes["K"].as_int(),
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _conv,
    "ConvTranspose": _conv_transpose,
}


def _live_bytes(graph: ir.Graph) -> int:
    """The most bytes of inputs, outputs and intermediate values that are needed at a time."""
    root: dict[ir.Value, ir.Value] = {}
    pending: Counter[ir.Value] = Counter()

    def base(value: ir.Value) -> ir.Value:
        return root.get(value, value)

    nodes = list(graph)
    for node in nodes:
        source = node.inputs[0] if node.inputs else None
        if node.op_type in _VIEWS and source is not None and not source.is_initializer():
            root[node.outputs[0]] = base(source)
        pending.update(base(value) for value in node.inputs if value is not None)
    kept = {base(value) for value in (*graph.inputs, *graph.outputs)}
    alive = sum(_nbytes(value) for value in graph.inputs)
    most = alive
    for node in nodes:
        alive += sum(_nbytes(value) for value in node.outputs if value not in root)
        most = max(most, alive)
        for value in node.inputs:
            if value is None or value.is_initializer():
                continue
            owner = base(value)
            pending[owner] -= 1
            if not pending[owner] and owner not in kept:
                alive -= _nbytes(owner)
    return most
