"""Names, shapes and places of the tensors of a ``torch.save`` file, without running code that it may hold.

The zip format (torch 1.6 and later) is opened with fake tensors: only the small pickle is read, and every storage
tells its offset in the file, from which plain file reads fetch rows later. The older format cannot be read in parts:
it is loaded whole, with ``weights_only=True``.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xsam_edge.export.checkpoint.tensor_ref import ITEM_SIZES, TensorRef, is_contiguous, span
from xsam_edge.export.checkpoint.unsupported import check_names, check_object
from xsam_edge.runtime.errors import CheckpointError

if TYPE_CHECKING:
    import torch

#: Keys under which training frameworks nest the weights; "state_dict" is the official code's.
NESTING_KEYS = ("state_dict", "model_state_dict", "model", "module")


def zip_refs(path: Path) -> dict[str, TensorRef]:
    """List the tensors of a zip-format file without reading their data.

    Raises CheckpointError when the file is truncated, holds objects other than tensors and plain containers, or has
    tensors of a type or layout that is not supported.
    """
    records = _stored_records(path)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        content = _load(path)
    refs = {}
    for name, tensor in _state_dict(path, content):
        dtype = _dtype_name(path, name, tensor)
        storage = tensor.untyped_storage()
        begin = storage._checkpoint_offset or 0
        strides, shape = tuple(tensor.stride()), tuple(tensor.shape)
        first = int(tensor.storage_offset()) * ITEM_SIZES[dtype]
        last = first + span(shape, strides) * ITEM_SIZES[dtype]
        if 0 not in shape and last > records.get(begin, 0):
            raise CheckpointError(f"{path} is damaged: {name} reaches past its data; download it again")
        plain = is_contiguous(shape, strides)
        refs[name] = TensorRef(name, dtype, shape, path, begin + first, None if plain else strides)
    return refs


def legacy_refs(path: Path) -> dict[str, TensorRef]:
    """Load a file of the format before torch 1.6; its tensors stay in memory.

    Raises CheckpointError as ``zip_refs`` does.
    """
    refs = {}
    for name, tensor in _state_dict(path, _load(path)):
        dtype = _dtype_name(path, name, tensor)
        refs[name] = TensorRef(name, dtype, tuple(tensor.shape), path, data=_bits(tensor.detach().contiguous(), dtype))
    return refs


def _load(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which nobody can act on
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file is untrusted: whatever it provokes means that it cannot be read
        text = str(error)
        match = re.search(r"(?:GLOBAL|global:?|class|function) (?:GLOBAL )?([A-Za-z_]\w*(?:\.\w+)+)", text)
        if "Weights only load failed" in text or "weights_only" in text:
            if match:
                check_object(path, match.group(1))
            what = f"the object {match.group(1)}" if match else "objects other than tensors"
            raise CheckpointError(
                f"{path} holds {what}, which could run code: not loaded; save the bare state_dict or use safetensors"
            ) from None
        reason = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
        raise CheckpointError(f"{path} is no readable torch checkpoint, truncated or damaged: {reason}") from None


def _stored_records(path: Path) -> dict[int, int]:
    """Offset -> length of every record that is stored as it is; compressed ones cannot be read in place."""
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            infos = archive.infolist()
            order = next((info for info in infos if info.filename.endswith("/byteorder")), None)
            if order is not None and archive.read(order) != b"little":
                raise CheckpointError(f"{path} was saved on a big-endian machine: save it again on a little-endian one")
            records = {}
            for info in infos:
                if "/data/" in info.filename and info.compress_type != zipfile.ZIP_STORED:
                    raise CheckpointError(f"{path} is a compressed zip archive: unpack it and save it with torch.save")
                file.seek(info.header_offset)
                # Local file header: the lengths of name and extra field are its last four bytes (APPNOTE 4.3.7).
                name_length, extra_length = struct.unpack("<26xHH", file.read(30))
                records[info.header_offset + 30 + name_length + extra_length] = info.file_size
    except (zipfile.BadZipFile, struct.error, EOFError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: its zip directory is unreadable ({error})") from error
    return records


def _state_dict(path: Path, content: Any) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for key in NESTING_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a state_dict of named tensors")
    check_names(path, (name for name in content if isinstance(name, str)))
    for name, value in content.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{path} has the key {name!r}; expected a state_dict whose keys are names")
        if isinstance(value, torch.Tensor):
            yield name, value


def _dtype_name(path: Path, name: str, tensor: torch.Tensor) -> str:
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout is not torch.strided or tensor.is_quantized or dtype not in ITEM_SIZES:
        kind = dtype if tensor.layout is torch.strided else f"{dtype} {tensor.layout}"
        raise CheckpointError(f"{name} in {path} has type {kind}; supported: dense {', '.join(ITEM_SIZES)}")
    return dtype


def _bits(tensor: torch.Tensor, dtype: str) -> np.ndarray:
    import torch

    return tensor.view(torch.int16).numpy().view(np.uint16) if dtype == "bfloat16" else tensor.numpy()
