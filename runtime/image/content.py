"""The content of an image file that a program holds: a message of a robot, an answer of HTTP, an open file."""

from __future__ import annotations

import io
from array import array
from contextlib import suppress
from typing import Any, Protocol, TypeGuard

import numpy as np

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ImageError, InputError

_HELD = (bytes, bytearray, memoryview, array)


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self) -> bytes:
        """All that is left of it."""


# Or an ``array`` of bytes, as messages of ROS have.
ImageContent = bytes | bytearray | memoryview | Readable


def is_content(source: object) -> TypeGuard[ImageContent]:
    """Whether something is a file's content or an open file: no path, Pillow image or array of pixels."""
    if isinstance(source, np.ndarray):
        return source.ndim == 1 and source.dtype == np.uint8
    return isinstance(source, _HELD) or callable(getattr(source, "read", None))


def open_content(source: ImageContent, name: str) -> io.BytesIO:
    """The content as a stream of its own. An open file is read from its beginning where it can be, and stays open.

    Raises:
        InputError: values of more than a byte, or a file that is closed or open as text.
        ImageError: it is empty, or cannot be read.
    """
    content = _bytes(source, name) if isinstance(source, (*_HELD, np.ndarray)) else _read(source, name)
    if not content:
        raise ImageError(f"{name} is empty (0 bytes); the content of an image file was expected")
    return io.BytesIO(content)


def _bytes(source: Any, name: str) -> bytes:
    view = memoryview(source)
    if view.itemsize != 1:
        raise InputError(f"{name} has values of {view.itemsize} bytes; give the bytes of an image file")
    return view.tobytes()


def _read(file: Any, name: str) -> bytes:
    if getattr(file, "closed", False) is True:
        raise InputError(f"{name} is a file that is closed; give it while it is open, or its content as bytes")
    if hasattr(file, "seek"):
        with suppress(OSError):  # it is read once, as a pipe
            file.seek(0)
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read from {type(file).__name__} ({error}); open it again") from error
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise InputError(
            f"{name} is a file whose read() gave {arguments.found(content)}; expected bytes, as of a file opened with "
            "the mode 'rb'"
        )
    return bytes(content)
