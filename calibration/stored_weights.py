"""FP32 graphs whose weights are stored as something smaller, or before they were multiplied.

A checkpoint's weights are 16-bit numbers as a rule: an FP32 graph with them in a file twice as large tells no more.
Such a graph stores the smaller numbers, widened by a Cast; and where smoothing multiplies a weight, by a Mul behind it.
ONNX Runtime computes both when it loads the graph. Whoever looks at a graph sees plain FP32 weights: :func:`load_graph`
takes these nodes in, :func:`store` puts them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.external_weights import read_model
from xsam_edge.runtime.backends.onnxruntime import one_line
from xsam_edge.runtime.errors import BackendError, XSamError

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_PAGE = 4096  # bytes; a tensor that is mapped begins at one
_ROWS = 1024  # of a weight that are widened at a time
_CAST, _FACTOR = "\twiden", "\tfactor"  # ends of the names of nodes


@dataclass(frozen=True, eq=False)
class Factor:
    """What a weight is multiplied by: float32 of the weight's rank, of size 1 along all axes but one."""

    values: npt.NDArray[np.float32]


class StoredWeight(ir.LazyTensor):
    """A float32 weight: what is stored of it, and the factors of it, applied one after the other."""

    def __init__(self, name: str, stored: ir.ExternalTensor, factors: tuple[Factor, ...] = ()) -> None:
        super().__init__(lambda: ir.tensor(self.rows(0, self.sizes[0])), ir.DataType.FLOAT, stored.shape, name=name)
        self.stored, self.factors = stored, factors

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.stored.shape.numpy())

    @property
    def is_plain(self) -> bool:
        """Whether it is stored as what it is."""
        return self.stored.dtype == ir.DataType.FLOAT and not self.factors

    def rows(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows ``start:stop`` along the first axis."""
        return self._part((slice(start, stop),))

    def columns(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Columns ``start:stop`` of a matrix."""
        return self._part((slice(None), slice(start, stop)))

    def multiplied(self, factor: Factor) -> StoredWeight:
        """The weight with one more factor."""
        return StoredWeight(str(self.name), self.stored, (*self.factors, factor))

    def _part(self, where: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        part = np.asarray(self.stored.numpy()[where]).astype(np.float32)
        for factor in self.factors:
            axes = zip(where, factor.values.shape, strict=False)  # those behind are whole
            part *= factor.values[tuple(part_of if size > 1 else slice(None) for part_of, size in axes)]
        return part


def load_graph(path: Path) -> ir.Model:
    """A graph with plain FP32 weights, which stay in the file beside it.

    Raises:
        BackendError: a file that is none.
    """
    try:
        model = read_model(path)
    except Exception as error:  # protobuf's own types
        raise BackendError(f"{path} cannot be read as ONNX: {one_line(error)}") from error
    for name, value in list(model.graph.initializers.items()):
        if isinstance(value.const_value, ir.ExternalTensor) and value.dtype in FLOATS:
            _take_in(model.graph, name, value, value.const_value)
    return model


def store(model: ir.Model) -> None:
    """Turn weights into what is stored of them and the nodes behind, in place."""
    for value in list(model.graph.initializers.values()):
        if isinstance(weight := value.const_value, StoredWeight):
            _put_back(model.graph, value, weight)


def widen(model: ir.Model, path: Path) -> None:
    """Write weights that are stored otherwise than as what they are to a file, as float32, which stores them then.

    Raises:
        XSamError: the disk is full.
    """
    offset = 0
    try:
        with path.open("wb") as file:
            for value in model.graph.initializers.values():
                weight = value.const_value
                if not isinstance(weight, StoredWeight) or weight.is_plain:
                    continue
                offset = -(-offset // _PAGE) * _PAGE
                file.seek(offset)
                for start in range(0, weight.sizes[0], _ROWS):
                    file.write(weight.rows(start, start + _ROWS).view(np.uint8).data)
                length = 4 * weight.size
                value.const_value = ir.ExternalTensor(
                    path.name,
                    offset,
                    length,
                    weight.dtype,
                    shape=weight.stored.shape,
                    name=value.name or "",
                    base_dir=path.parent,
                )
                offset += length
    except OSError as error:
        raise XSamError(
            f"{path} cannot be written ({error.strerror or error}), where weights are widened; free some space"
        ) from None


def stored_weights(graph: ir.Graph) -> Mapping[str, StoredWeight]:
    """The FP32 weights of a graph of :func:`load_graph`: what lies in its data file, but for tables of indices."""
    weights = {str(name): value.const_value for name, value in graph.initializers.items()}
    return {name: weight for name, weight in weights.items() if isinstance(weight, StoredWeight)}


def narrow(graph: ir.Graph, types: Mapping[str, ir.DataType]) -> None:
    """Store weights that have no value yet, by name, in smaller types than FP32, with a Cast behind each, in place."""
    for name, dtype in types.items():
        value = graph.initializers[name]
        wide = _append(graph, "Cast", [value], f"{name}{_CAST}", value.shape, to=ir.DataType.FLOAT.value)
        for use in [use for use in value.uses() if use.node is not wide.producer()]:
            use.node.replace_input_with(use.idx, wide)
        value.type = ir.TensorType(dtype)


def _take_in(graph: ir.Graph, name: str, value: ir.Value, stored: ir.ExternalTensor) -> None:
    factors: list[Factor] = []
    last, behind = value, []
    while (node := _behind(last, name)) is not None:
        behind.append(node)
        last = node.outputs[0]
        if node.op_type == "Mul":
            factor = node.inputs[1]
            assert factor is not None and factor.const_value is not None
            factors.append(Factor(np.asarray(factor.const_value.numpy())))
    if value.dtype != ir.DataType.FLOAT and not behind:
        return
    if behind:
        for use in list(last.uses()):
            use.node.replace_input_with(use.idx, value)
        for node in reversed(behind):
            graph.remove(node, safe=True)
        for index in range(len(factors)):
            del graph.initializers[f"{name}{_FACTOR}{index}"]
    value.type = ir.TensorType(ir.DataType.FLOAT)
    value.const_value = StoredWeight(name, stored, tuple(factors))


def _behind(value: ir.Value, name: str) -> ir.Node | None:
    """The node of this module that reads a value."""
    uses = list(value.uses())
    node = uses[0].node if len(uses) == 1 else None
    return node if node is not None and str(node.name).startswith((f"{name}{_CAST}", f"{name}{_FACTOR}")) else None


def _put_back(graph: ir.Graph, value: ir.Value, weight: StoredWeight) -> None:
    name, last, readers = str(value.name), value, list(value.uses())
    if weight.stored.dtype != ir.DataType.FLOAT:
        last = _append(graph, "Cast", [last], f"{name}{_CAST}", value.shape, to=ir.DataType.FLOAT.value)
    for index, factor in enumerate(weight.factors):
        made = ir.Value(
            name=f"{name}{_FACTOR}{index}",
            shape=ir.Shape(factor.values.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(factor.values),
        )
        graph.initializers[str(made.name)] = made
        last = _append(graph, "Mul", [last, made], f"{name}{_FACTOR}{index}", value.shape)
    if last is not value:
        for use in readers:
            use.node.replace_input_with(use.idx, last)
    value.type = ir.TensorType(weight.stored.dtype)
    value.const_value = weight.stored


def _append(
    graph: ir.Graph, op: str, inputs: list[ir.Value], name: str, shape: ir.Shape | None, **attributes: int
) -> ir.Value:
    """Add a node before all others; those of one weight are added in their order."""
    node = ir.node(op, inputs, attributes=attributes or None, name=name)
    made = node.outputs[0]
    made.name, made.type, made.shape = f"{name}_output", ir.TensorType(ir.DataType.FLOAT), shape
    producer = inputs[0].producer()
    if producer is not None:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
    return made
