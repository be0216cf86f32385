"""Graphs whose files are links into other folders, as DVC, git-annex and the cache of the Hugging Face hub keep them.

ONNX Runtime finds weights by the name that a graph has for their file, beside the graph. From 1.24 on it follows no
link that leads out of that folder. Such a graph is read here and told where its weights really are, so that they stay
mapped from there; what a bundle's files are was checked before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xsam_edge.runtime.backends.onnxruntime.library import is_since
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.versions import Version

#: Option of a session: the folder of the weights of a graph that is given as bytes.
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

_CONFINED = Version(1, 24)  # the first that follows no link out of the folder
# Numbers of fields in ONNX's messages: ModelProto.graph, GraphProto.initializer, TensorProto.external_data.
_EXTERNAL_DATA = (7, 5, 13)
_KEY, _VALUE = 1, 2  # of one entry of external data
_BYTES = 2  # protobuf's wire type of what has a length


@dataclass(frozen=True)
class Model:
    """What ``InferenceSession`` takes, and the entries of the session's configuration that belong to it."""

    content: str | bytes
    entries: Mapping[str, str] = field(default_factory=dict)

    def configure(self, options: Any) -> None:
        """Add the entries to ``SessionOptions``."""
        for name, value in self.entries.items():
            options.add_session_config_entry(name, value)


def find_model(ort: Any, path: Path) -> Model:
    """A graph in the file ``path``, whose weights are in ``path`` + ".data", for the package ``ort``.

    Raises:
        BackendError: a graph behind links that cannot be read, or has weights in another file.
    """
    weights = path.with_name(f"{path.name}.data")
    if not is_since(ort, _CONFINED) or not (path.is_symlink() or weights.is_symlink()):
        return Model(str(path))
    real = weights.resolve()
    try:
        content = _with_location(path.read_bytes(), weights.name, real.name)
    except (OSError, ValueError) as error:
        raise BackendError(f"{path} cannot be read as ONNX: {error}; export the bundle again") from None
    return Model(content, {WEIGHTS_FOLDER: str(real.parent)})


def _with_location(model: bytes, name: str, real: str) -> bytes:
    """A graph that has its weights in a file called ``real`` instead of ``name``. Raises ValueError for no graph."""

    def moved(entry: bytes) -> bytes:
        values = {number: entry[value:stop] for number, _, value, stop in _fields(entry)}
        if values.get(_KEY) != b"location":
            return entry
        if (found := values.get(_VALUE, b"")) != name.encode():
            raise ValueError(f"it has weights in {found.decode(errors='replace')!r}; expected {name!r}")
        return _message(_KEY, b"location") + _message(_VALUE, real.encode())

    return _replaced(model, _EXTERNAL_DATA, moved)


def _replaced(message: bytes, fields: tuple[int, ...], change: Callable[[bytes], bytes]) -> bytes:
    """A message with another content of each message that lies at these numbers of fields, one in the other."""
    parts = []
    for number, start, value, stop in _fields(message):
        if number != fields[0]:
            parts.append(message[start:stop])
            continue
        inner = message[value:stop]
        parts.append(_message(number, _replaced(inner, fields[1:], change) if fields[1:] else change(inner)))
    return b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of each field its number, and where it, its value and what follows begin."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _read_varint(message, position)
        value = position
        match tag & 7:
            case 0:
                _, position = _read_varint(message, position)
            case 1:
                position += 8
            case 2:
                length, value = _read_varint(message, position)
                position = value + length
            case 5:
                position += 4
            case kind:
                raise ValueError(f"a field of the kind {kind} at byte {start}")
        if position > len(message):
            raise ValueError(f"it ends within a field, at byte {len(message)}")
        yield tag >> 3, start, value, position


def _message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and where what follows begins."""
    number = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError(f"it ends within a number, at byte {position}")


def varint(number: int) -> bytes:
    """A number of protocol buffers: seven bits a byte, low ones first; the eighth says that more follow."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
