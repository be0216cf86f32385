"""Names, shapes and places of the tensors of a safetensors file, from its header alone.

The header is parsed here, and not by the ``safetensors`` package, because that one does not tell where in the file a
tensor lies. The checks are those of the format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from xsam_edge.export.checkpoint.tensor_ref import ITEM_SIZES, TensorRef
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
    refs = {name: _ref(path, name, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"}
    _check_layout(path, refs, 8 + length, size)
    return refs


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a name occurs twice")
        return entries

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: unreadable header ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is not a safetensors file: its header is no JSON object")
    return header


def _ref(path: Path, name: str, entry: Any, data_start: int) -> TensorRef:
    try:
        tag, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        valid = all(type(value) is int and value >= 0 for value in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        valid = False
    if not valid:
        raise CheckpointError(f"{path} has a damaged entry for {name}: expected dtype, shape and data_offsets")
    if tag not in _DTYPES:
        raise CheckpointError(f"{name} in {path} has type {tag}; supported: {', '.join(_DTYPES)}")
    dtype = _DTYPES[tag]
    if end - begin != math.prod(shape) * ITEM_SIZES[dtype]:
        raise CheckpointError(f"{name} in {path} has {end - begin} bytes for {tag} {tuple(shape)}: damaged header")
    return TensorRef(name, dtype, tuple(shape), path, data_start + begin)


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
