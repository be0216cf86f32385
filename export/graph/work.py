"""What a graph has to do: operations, bytes to move, memory for activations, as polynomials in its axes.

Operations are those of matrix products and convolutions, two per multiplication and addition; element-wise work is not
counted. Bytes are the least that must cross memory: each weight once, inputs and outputs once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import optimizer

from xsam_edge.calibration.external_weights import read_model
from xsam_edge.export.graph.polynomial import Place, Size, fit, places
from xsam_edge.runtime.bundle.contract import PAST
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.bundle.work import GraphWork, Polynomial
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.progress import Progress, Step

_LOG = logging.getLogger(__name__)
# Operators whose result is the memory of their first input.
_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
# Shapes are vectors of a few numbers; longer constants are weights.
_LONGEST_SHAPE = 64


def record(folder: Path, graphs: Mapping[str, GraphSpec], progress: Progress) -> dict[str, GraphWork]:
    """The work of a bundle's graphs; one that cannot be counted is left out, and the log says why."""
    found = {}
    for name, spec in graphs.items():
        progress(Step(f"{name}: count its work"))
        try:
            found[name] = count(folder / spec.file)
        except BundleError as error:
            _LOG.info("the work of %s is not recorded: %s", name, error)
    return found


def count(path: Path) -> GraphWork:
    """The work of a graph file; weights are not read.

    Raises:
        BundleError: the file cannot be read, or a shape cannot be told or is no sum of axes and of their products with
            the batch.
    """
    counted = _Counted.of(path)
    work = counted.work()
    if work.axes:
        least = {axis: 0 if axis == PAST else 1 for axis in work.axes}
        there, expected = counted.at(least).work().at({}), work.at(least)
        if (there.flops, there.io_bytes) != (expected.flops, expected.io_bytes):
            raise BundleError(f"the work of {path} is a sum of its axes at large sizes, and another at the smallest")
    return work


def flops_of_nodes(path: Path) -> dict[str, Polynomial]:
    """Operations of each matrix product and convolution of a graph file, by the node's name, as of :func:`count`."""
    return {str(node.name): flops.terms for node, flops in _Counted.of(path).flops()}


def read_graph(path: Path) -> ir.Model:
    """A graph file without its weights. Raises BundleError for what is none."""
    try:
        return read_model(path)
    except Exception as error:  # protobuf's own types
        raise BundleError(f"{path} cannot be read as ONNX ({type(error).__name__}); export the bundle again") from None


def resolved(path: Path, place: Place) -> ir.Model:
    """The graph with a size for every dimension.

    Raises:
        BundleError: it cannot be read, has an axis of unknown size, or constants that cannot be evaluated.
    """
    model = read_graph(path)
    graph = model.graph
    for value in (*graph.outputs, *(value for node in graph for value in node.outputs)):
        value.shape = None
    for value in graph.inputs:
        assert value.shape is not None
        try:
            value.shape = ir.Shape([place[str(d.value)] if isinstance(d, ir.SymbolicDim) else d for d in value.shape])
        except KeyError as error:
            raise BundleError(f"{path} has an axis {error} of unknown size") from None
    level = logging.getLogger("onnx_ir").level
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        optimizer.fold_constants(model, onnx_shape_inference=True, should_fold=_should_fold)
        RemoveUnusedNodesPass()(model)
    except Exception as error:  # whatever an operator's evaluation raises
        raise BundleError(f"shapes of {path} cannot be told ({type(error).__name__})") from None
    finally:
        logging.getLogger("onnx_ir").setLevel(level)
    return model


def _should_fold(node: ir.Node) -> bool | None:
    """What shapes are computed from, and nothing that grows with a size, which a backend computes in every run."""
    tensors = [value.const_value for value in node.inputs if value is not None]
    short = all(tensor is None or tensor.size <= _LONGEST_SHAPE for tensor in tensors)
    return None if short and node.op_type != "Range" else False


@dataclass(frozen=True)
class _Counted:
    """A graph, and the dimensions of every value as polynomials."""

    path: Path
    graph: ir.Graph
    weight_bytes: int  # as the file has them: what is left after folding depends on the sizes
    sizes: Mapping[ir.Value, tuple[Size, ...]]

    @classmethod
    def of(cls, path: Path) -> _Counted:
        """Infer shapes at all :func:`places`."""
        whole = read_graph(path).graph
        axes = {str(d.value) for value in whole.inputs for d in value.shape or () if isinstance(d, ir.SymbolicDim)}
        where = places(sorted(axes))
        if axes - where[0].keys():
            raise BundleError(f"{path} has an axis {min(axes - where[0].keys())!r} of unknown size")
        first = resolved(path, where[0]).graph
        found = [_shapes(first), *(_shapes(resolved(path, place).graph) for place in where[1:])]
        if len({tuple((operator, len(shape)) for operator, shape in shapes) for shapes in found}) > 1:
            raise BundleError(f"{path} has other nodes at other sizes")
        known: dict[tuple[int, ...], Size | None] = {}
        sizes: dict[ir.Value, tuple[Size, ...]] = {}
        for index, value in enumerate(_values(first)):
            dims = []
            for values in zip(*(shapes[index][1] for shapes in found), strict=True):
                if values not in known:
                    known[values] = fit(sorted(axes), values)
                if (size := known[values]) is None:
                    raise BundleError(f"the shape of {value.name} in {path} is no sum of axes and their products")
                dims.append(size)
            sizes[value] = tuple(dims)
        weights = (value for value in whole.initializers.values() if value.uses())
        return cls(path, first, sum(map(_weight_bytes, weights)), sizes)

    def at(self, place: Place) -> _Counted:
        """The same where the axes have these sizes alone."""
        return replace(self, graph=resolved(self.path, place).graph, sizes={})

    def work(self) -> GraphWork:
        """Count."""
        uncounted = Counter[str]()
        for node in self.graph:
            if node.op_type in _COUNT:
                continue
            if node.domain not in ("", "ai.onnx") or node.op_type in {"Einsum", "Attention", "LSTM", "GRU", "RNN"}:
                uncounted[node.op_type] += 1
        io = sum((self.nbytes(value) for value in (*self.graph.inputs, *self.graph.outputs)), Size.of(0))
        return GraphWork(
            flops=sum((size for _, size in self.flops()), Size.of(0)).terms,
            weight_bytes=self.weight_bytes,
            io_bytes=io.terms,
            activation_bytes=tuple(size.terms for size in _live_bytes(self.graph, self.nbytes)),
            uncounted=tuple(f"{n} {name}" for name, n in uncounted.items()),
        )

    def flops(self) -> Iterator[tuple[ir.Node, Size]]:
        """Every product, and its operations."""
        return ((node, _COUNT[node.op_type](node, self.dims)) for node in self.graph if node.op_type in _COUNT)

    def dims(self, value: ir.Value | None) -> tuple[Size, ...]:
        """The shape of a value."""
        if value is not None and value in self.sizes:
            return self.sizes[value]
        return tuple(Size.of(size) for size in _static(value))

    def nbytes(self, value: ir.Value) -> Size:
        """Bytes of an input or of what a node computes; 0 where the type is unknown."""
        return prod(self.dims(value), start=Size.of(0 if value.dtype is None else -(-value.dtype.bitwidth // 8)))


def _weight_bytes(value: ir.Value) -> int:
    return 0 if value.dtype is None else int(prod(_static(value)) * value.dtype.itemsize)  # below 1 of four bits


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *(value for node in graph for value in node.outputs)]


def _shapes(graph: ir.Graph) -> list[tuple[str, tuple[int, ...]]]:
    """Operator and shape of all values in order."""
    return [((node.op_type if (node := value.producer()) else ""), _static(value)) for value in _values(graph)]


def _static(value: ir.Value | None) -> tuple[int, ...]:
    dims = () if value is None or value.shape is None else tuple(d for d in value.shape if isinstance(d, int))
    if value is None or value.shape is None or len(dims) < len(value.shape):
        raise BundleError(f"the shape of {value.name if value else 'an input'} cannot be told")
    return dims


_Dims = Callable[[ir.Value | None], tuple[Size, ...]]


def _product(sizes: Sequence[Size]) -> Size:
    return prod(sizes, start=Size.of(2))


def _matmul(node: ir.Node, dims: _Dims) -> Size:
    return _product(dims(node.outputs[0])) * dims(node.inputs[0])[-1]


def _matmul_n_bits(node: ir.Node, dims: _Dims) -> Size:
    return _product(dims(node.outputs[0])) * node.attributes["K"].as_int()


def _gemm(node: ir.Node, dims: _Dims) -> Size:
    transposed = node.attributes["transA"].as_int() if "transA" in node.attributes else 0
    return _product(dims(node.outputs[0])) * dims(node.inputs[0])[0 if transposed else 1]


def _conv(node: ir.Node, dims: _Dims) -> Size:
    weight = dims(node.inputs[3 if node.op_type == "QLinearConv" else 1])  # [out, in / groups, *kernel]
    return _product((*dims(node.outputs[0]), *weight[1:]))


def _conv_transpose(node: ir.Node, dims: _Dims) -> Size:
    weight = dims(node.inputs[1])  # [in, out / groups, *kernel]
    return _product((*dims(node.inputs[0]), *weight[1:]))


_COUNT: Mapping[str, Callable[[ir.Node, _Dims], Size]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "MatMulNBits": _matmul_n_bits,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _conv,
    "ConvTranspose": _conv_transpose,
}


def _live_bytes(graph: ir.Graph, nbytes: Callable[[ir.Value], Size]) -> list[Size]:
    """Bytes of inputs, outputs and intermediate values that are needed at a time, where none other is always more."""
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
    alive = sum((nbytes(value) for value in graph.inputs), Size.of(0))
    most = [alive]
    for node in nodes:
        alive += sum((nbytes(value) for value in node.outputs if value not in root), Size.of(0))
        if not any(size.covers(alive) for size in most):
            most = [*(size for size in most if not alive.covers(size)), alive]
        for value in node.inputs:
            if value is None or value.is_initializer():
                continue
            owner = base(value)
            pending[owner] -= 1
            if not pending[owner] and owner not in kept:
                alive -= nbytes(owner)
    return most
