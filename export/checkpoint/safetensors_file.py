"""Names, shapes and places of the tensors of a safetensors file, from its header alone.

The header is parsed here, and not by the ``safetensors`` package, because that one does not tell where in the file a
tensor lies. The checks are those of the format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from xsam_edge.export.checkpoint.tensor_ref import ITEM_SIZES, TensorRef
from xsam_edge.export.checkpoint.unsupported import check_names
from xsam_edge.runtime.bundle.constraints import Count
from xsam_edge.runtime.bundle.typed_json import from_json, parse_json
from xsam_edge.runtime.errors import CheckpointError

_MAX_HEADER = 100_000_000  # bytes; the limit of the format
_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class _Entry:
    """One tensor of the header; ``data_offsets`` are where its bytes begin and end, behind the header."""

    extra_keys: ClassVar[bool] = True

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, Count]


def safetensors_refs(path: Path) -> dict[str, TensorRef]:
    """List the tensors of one file without reading their data.

    Raises CheckpointError when the file is empty, truncated, damaged or holds a type that is not supported.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise CheckpointError(f"{path} is truncated: {size} bytes are no safetensors file; download it again")
        (length,) = struct.unpack("<Q", prefix)
        if length > _MAX_HEADER or length < 2:
            raise CheckpointError(f"{path} is not a safetensors file: its header would have {length} bytes")
        if 8 + length > size:
            raise CheckpointError(f"{path} is truncated: the header ends at byte {8 + length}, the file at {size}")
        header = _parse(path, file.read(length))
    check_names(path, header)
    refs = {name: _ref(path, name, entry, 8 + length) for name, entry in header.items()}
    _check_layout(path, refs, 8 + length, size)
    return refs


def _parse(path: Path, text: bytes) -> dict[str, _Entry]:
    where, advice = f"{path}: its header", "it is no safetensors file, or damaged: download it again"
    header = from_json(dict[str, Any], parse_json(text, where, CheckpointError, advice=advice), where, CheckpointError)
    header.pop("__metadata__", None)
    return from_json(dict[str, _Entry], header, where, CheckpointError, advice=advice)


def _ref(path: Path, name: str, entry: _Entry, data_start: int) -> TensorRef:
    tag, shape, (begin, end) = entry.dtype, entry.shape, entry.data_offsets
    if tag not in _DTYPES:
        raise CheckpointError(f"{name} in {path} has type {tag}; supported: {', '.join(_DTYPES)}")
    dtype = _DTYPES[tag]
    if end - begin != math.prod(shape) * ITEM_SIZES[dtype]:
        raise CheckpointError(f"{name} in {path} has {end - begin} bytes for {tag} {shape}: damaged header")
    return TensorRef(name, dtype, shape, path, data_start + begin)


def _check_layout(path: Path, refs: dict[str, TensorRef], data_start: int, size: int) -> None:
    position = data_start
    for ref in sorted(refs.values(), key=lambda ref: (ref.offset, ref.nbytes)):
        if ref.offset != position:
            raise CheckpointError(f"{path} is damaged: {ref.name} lies at byte {ref.offset}, expected {position}")
        position += ref.nbytes
    if position > size:
        raise CheckpointError(f"{path} is truncated: it has {size} bytes of {position}; download it again")
    if position < size:
        raise CheckpointError(f"{path} is damaged: {size - position} bytes follow the last tensor")
