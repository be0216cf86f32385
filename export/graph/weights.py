"""Writing weights: tensor by tensor, in blocks of rows, cast on the way, into a graph's external data file.

The peak of memory is a block or one computed tensor, whatever the size of the model: nothing here holds a weight
after it was written.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.export.graph.passes import INLINE_BYTES, WeightPlan, evaluate
from xsam_edge.export.graph.weight_codes import WeightQuantization, pack_int4
from xsam_edge.export.staging import check_space, told_when_full
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Tally

# Rows are read in blocks of about this many bytes; a transposed matrix up to this size is turned in memory.
BLOCK_BYTES = 32 << 20
# Large tensors start at page boundaries, so that a runtime can map them; small ones are cheap to copy.
ALIGNMENT = 4096
SMALL_BYTES = 64 << 10
_SMALL_ALIGNMENT = 64


class WeightSource(Protocol):
    """Named tensors that are read in blocks of rows, as float32 or float16 arrays."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> shape."""

    def dtype(self, name: str) -> str:
        """The type that a tensor is stored in, such as "bfloat16"."""

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop`` along the first axis."""


@dataclass(frozen=True)
class RandomWeights:
    """Weights of a model that was never trained, for latency work. The same seed gives the same weights."""

    shapes: Mapping[str, tuple[int, ...]]
    seed: int

    _ROWS = 1024  # a tensor is drawn in chunks of this many rows, whatever blocks are asked for

    def dtype(self, _name: str) -> str:
        """See :class:`WeightSource`."""
        return "float32"

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop``: ones for scales of norms, zeros for biases, else normal with variance 1 / fan-in."""
        shape = self.shapes[name]
        rows = (stop - start, *shape[1:])
        if name.endswith("logit_scale"):
            return np.full(rows, np.log(1 / 0.07), np.float32)  # the initial value of ClassPredictor
        if len(shape) == 1:
            return np.full(rows, 1.0 if name.endswith(".weight") else 0.0, np.float32)
        result = np.empty(rows, np.float32)
        for chunk in range(start // self._ROWS, -(-stop // self._ROWS)):
            first = chunk * self._ROWS
            generator = np.random.Generator(np.random.SFC64([self.seed, zlib.crc32(name.encode()), chunk]))
            values = generator.standard_normal((min(self._ROWS, shape[0] - first), *shape[1:]), np.float32)
            values /= np.float32(np.sqrt(prod(shape[1:])))
            low, high = max(start, first), min(stop, first + self._ROWS)
            result[low - start : high - start] = values[low - first : high - first]
        return result


def blocks(shape: tuple[int, ...], multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Row ranges of about ``BLOCK_BYTES`` in float32 at most that cover a tensor, each of a ``multiple`` of rows."""
    row = 4 * prod(shape[1:])
    step = max(1, BLOCK_BYTES // max(row, 1))
    step = max(multiple, step - step % multiple)
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def cast(values: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Cast floats, checking that they are finite before and after.

    Raises:
        CheckpointError: NaN or infinity in the checkpoint, or a value outside of the range of ``dtype``.
    """
    if not np.issubdtype(dtype, np.floating) and dtype.name != "bfloat16":
        return values.astype(dtype)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{name} holds NaN or infinity; the checkpoint is damaged, download it again")
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    if result.dtype.itemsize < values.dtype.itemsize and not np.isfinite(result).all():
        peak = float(np.abs(values).max())
        raise CheckpointError(f"{name} reaches {peak:.3g}, outside of {dtype}'s range; export with --precision fp32")
    return result


def read(source: WeightSource, name: str) -> np.ndarray:
    """A whole tensor."""
    return source.read_rows(name, 0, source.shapes[name][0])


def read_blocks(source: WeightSource, name: str, multiple: int = 1) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """A whole tensor in float32, in blocks of rows with the index of each one's first."""
    for start, stop in blocks(source.shapes[name], multiple):
        yield start, cast(source.read_rows(name, start, stop), np.dtype(np.float32), name)


def stored_types(plans: Mapping[str, WeightPlan], source: WeightSource) -> dict[str, ir.DataType]:
    """The 16-bit types of the large weights that are one tensor of the checkpoint each, as it is or transposed."""
    kinds = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
    return {
        name: kinds[kind]
        for name, plan in plans.items()
        if plan.program is None
        and (kind := source.dtype(plan.parameters[0])) in kinds
        and 4 * prod(source.shapes[plan.parameters[0]]) > SMALL_BYTES
    }


def write_external_data(
    model: ir.Model,
    plans: Mapping[str, WeightPlan],
    source: WeightSource,
    path: Path,
    tally: Tally | None = None,
) -> None:
    """Write every weight and every large constant of a graph to ``path`` and refer to it there.

    The type of each initialiser says what it is cast to. Bytes that are written are added to ``tally``.
    """
    layout = external_layout(model, plans)
    needed = sum(length for _, length in layout.values())
    check_space(path.parent, needed)
    values = model.graph.initializers
    with told_when_full(path.parent, needed), path.open("wb") as file:
        for name, (offset, length) in layout.items():
            value = values[name]
            assert value.dtype is not None and value.shape is not None
            dtype, shape = np.dtype(value.dtype.numpy()), tuple(value.shape.numpy())
            plan = plans.get(name)
            if plan is None:
                assert value.const_value is not None
                _pwrite(file.fileno(), cast(value.const_value.numpy(), dtype, name), offset)
            else:
                _write(file.fileno(), offset, plan, source, dtype, shape, name)
            value.const_value = ir.ExternalTensor(
                path.name, offset, length, value.dtype, shape=ir.Shape(shape), name=name, base_dir=path.parent
            )
            if tally:
                tally.add(length)
        os.ftruncate(file.fileno(), max((o + n for o, n in layout.values()), default=0))


def external_layout(model: ir.Model, plans: Mapping[str, WeightPlan]) -> dict[str, tuple[int, int]]:
    """Offset and length of everything that belongs into a graph's external data file."""
    layout, offset = {}, 0
    for name, value in model.graph.initializers.items():
        length = stored_bytes(value)
        if name in plans or length > INLINE_BYTES:
            alignment = ALIGNMENT if length > SMALL_BYTES else _SMALL_ALIGNMENT
            offset = -(-offset // alignment) * alignment
            layout[name] = (offset, length)
            offset += length
    return layout


def stored_bytes(value: ir.Value) -> int:
    """Bytes of a typed initialiser in a file; two int4 codes share one."""
    assert value.dtype is not None and value.shape is not None
    return int(prod(value.shape.numpy()) * value.dtype.itemsize)


def _write(
    file: int,
    offset: int,
    plan: WeightPlan,
    source: WeightSource,
    dtype: np.dtype,
    shape: tuple[int, ...],
    name: str,
) -> None:
    if plan.program is not None:
        read_parameters = {p: cast(read(source, p), np.dtype(np.float32), p) for p in plan.parameters}
        result = evaluate(plan.program, read_parameters)
        _pwrite(file, cast(result.reshape(shape), dtype, name), offset)
        return
    (parameter,) = plan.parameters
    stored = source.shapes[parameter]
    if plan.quantization is not None:
        _write_codes(file, offset, plan.quantization, source, parameter)
        return
    if prod(stored) * 4 <= BLOCK_BYTES:
        values = cast(read(source, parameter), dtype, parameter)
        _pwrite(file, values.T if plan.transpose else values, offset)
        return
    for start, stop in blocks(stored):
        values = cast(source.read_rows(parameter, start, stop), dtype, parameter)
        if plan.transpose:
            _write_columns(file, offset, values, start, stored[0])
        else:
            _pwrite(file, values, offset + start * prod(stored[1:]) * dtype.itemsize)


def _write_codes(
    file: int, offset: int, quantization: WeightQuantization, source: WeightSource, parameter: str
) -> None:
    for start, rows in read_blocks(source, parameter, quantization.block or 1):
        codes: np.ndarray = quantization.codes(rows, start)
        if quantization.precision == "int4":
            codes = pack_int4(codes)
        _pwrite(file, codes, offset)
        offset += codes.nbytes


def _write_columns(file: int, offset: int, rows: np.ndarray, start: int, total: int) -> None:
    """Write rows of a matrix as columns ``start`` and following of its transpose, which has ``total`` columns."""
    columns = np.ascontiguousarray(rows.T)
    size = columns.dtype.itemsize
    for index, column in enumerate(columns):
        _pwrite(file, column, offset + (index * total + start) * size)


def _pwrite(file: int, array: np.ndarray, offset: int) -> None:
    view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data  # bfloat16 has no buffer of its own
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
