"""A tensor inside a checkpoint file: known by name, type and shape, read only when asked, in blocks of rows.

numpy has no bfloat16: such tensors are returned as float32, which represents every bfloat16 value exactly. float16,
float32 and float64 come back as stored. Integer and boolean tensors (buffers of some checkpoints) are listed, but
reading one raises ``CheckpointError``: no weight of an X-SAM model is an integer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime.errors import CheckpointError

#: Types that can be read, and the numpy type of their bytes on disk (little-endian).
FLOAT_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}

#: Types that may appear in a checkpoint, with their size in bytes.
ITEM_SIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "int64": 8, "int32": 4, "bool": 1}


@dataclass(frozen=True)
class TensorRef:
    """Where a tensor lies. ``strides`` count elements; None means C-contiguous."""

    name: str
    dtype: str  # a key of ITEM_SIZES
    shape: tuple[int, ...]
    source: Path
    offset: int = 0  # bytes from the start of the file to element 0
    strides: tuple[int, ...] | None = None
    data: np.ndarray | None = field(default=None, repr=False, compare=False)  # in memory: formats that cannot stream

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements as stored."""
        return self.size * ITEM_SIZES[self.dtype]


def read(ref: TensorRef) -> np.ndarray:
    """Read a whole tensor: array of ``ref.shape``; types as in the module's docstring.

    Raises CheckpointError when the tensor is not of a floating type or its file has become shorter.
    """
    if not ref.shape:
        return _block(ref, 0, 1, (1,), (1,)).reshape(())
    return read_rows(ref, 0, ref.shape[0])


def read_rows(ref: TensorRef, start: int, stop: int) -> np.ndarray:
    """Read ``tensor[start:stop]``; memory is that of the rows, whatever the tensor's size.

    Raises IndexError for rows outside the tensor and CheckpointError as ``read`` does.
    """
    if not ref.shape or not 0 <= start <= stop <= ref.shape[0]:
        raise IndexError(f"rows {start}:{stop} of {ref.name} with shape {ref.shape}")
    return _block(ref, start, stop, ref.shape, ref.strides)


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous tensor."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one that a strided tensor touches; 0 for an empty tensor."""
    if 0 in shape:
        return 0
    return 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Tell whether a strided tensor's elements lie in C order without gaps; strides of length-1 axes do not matter."""
    plain = contiguous_strides(shape)
    return all(length == 1 or stride == packed for length, stride, packed in zip(shape, strides, plain, strict=True))


def _block(
    ref: TensorRef, start: int, stop: int, shape: tuple[int, ...], strides: tuple[int, ...] | None
) -> np.ndarray:
    stored = FLOAT_DTYPES.get(ref.dtype)
    if stored is None:
        kinds = ", ".join(FLOAT_DTYPES)
        raise CheckpointError(f"{ref.name} in {ref.source} is {ref.dtype}; expected a weight of one of {kinds}")
    strides = strides or contiguous_strides(shape)
    shape = (stop - start, *shape[1:])
    offset = ref.offset + start * strides[0] * stored.itemsize
    if ref.data is not None:
        raw = np.array(ref.data[start:stop] if ref.shape else ref.data.reshape(1))
    elif 0 in shape:
        raw = np.empty(shape, stored)
    elif is_contiguous(shape, strides):
        raw = _contiguous(ref, offset, shape, stored)
    else:
        raw = _strided(ref, offset, shape, strides, stored)
    return _widen(raw) if ref.dtype == "bfloat16" else raw


def _contiguous(ref: TensorRef, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    # Plain reads, not a memory map: mapped pages count as this process's memory until the kernel takes them back.
    with open(ref.source, "rb") as file:
        file.seek(offset)
        raw = np.fromfile(file, dtype=dtype, count=math.prod(shape))
    if raw.size != math.prod(shape):
        raise _short(ref)
    return raw.reshape(shape)


def _strided(
    ref: TensorRef, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    try:
        mapped = np.memmap(ref.source, dtype=dtype, mode="r", offset=offset, shape=(span(shape, strides),))
    except ValueError as error:
        raise _short(ref) from error
    view = np.lib.stride_tricks.as_strided(mapped, shape, tuple(s * dtype.itemsize for s in strides), writeable=False)
    return np.array(view, order="C", subok=False)


def _short(ref: TensorRef) -> CheckpointError:
    return CheckpointError(f"{ref.source} ends inside {ref.name}: truncated or changed since it was opened")


def _widen(bits: np.ndarray) -> np.ndarray:
    # bfloat16 is the upper half of a float32.
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
