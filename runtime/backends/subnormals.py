"""Rounding of numbers below 1e-38, which the processor decides for each thread.

Softmax makes such subnormal numbers of every masked score, and a CPU takes some hundred cycles for each, so that ONNX
Runtime is asked to round them to zero. It does so in threads of its own, and once in a process in the thread that
opens a graph: in which of a program's threads they are zero is then up to chance. Here they are while a model works,
in every thread alike, and as they were before in the code of whoever calls.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def kept_subnormals() -> Iterator[None]:
    """Undo at the end what a library does to the calling thread's rounding."""
    before = _read()
    try:
        yield
    finally:
        _write(before)


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    """Round subnormal numbers to zero in the calling thread, where this machine's C library is one that is known."""
    before = _read()
    _write(_flushing(before))
    try:
        yield
    finally:
        _write(before)


# Of glibc's fenv_t: its size, where the control register stands in it, and the bits that round to zero. On x86-64 those
# are FTZ and DAZ of MXCSR, on Arm FZ of FPCR.
_LAYOUTS = {"x86_64": (32, 28, 0x8040), "aarch64": (8, 0, 1 << 24)}


@cache
def _library() -> tuple[Any, int, int, int] | None:
    layout = _LAYOUTS.get(platform.machine())
    if layout is None or not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return None
    try:
        library = ctypes.PyDLL("libm.so.6")  # these calls are too short to let another thread in
    except OSError:
        return None
    return (library, *layout)


def _read() -> bytes | None:
    """The calling thread's floating-point environment."""
    if (known := _library()) is None:
        return None
    library, size, _, _ = known
    environment = ctypes.create_string_buffer(size)
    return environment.raw if library.fegetenv(environment) == 0 else None


def _write(environment: bytes | None) -> None:
    if environment is not None and (known := _library()) is not None:
        known[0].fesetenv(environment)


def _flushing(environment: bytes | None) -> bytes | None:
    if environment is None or (known := _library()) is None:
        return None
    _, _, offset, bits = known
    (control,) = struct.unpack_from("<I", environment, offset)
    changed = bytearray(environment)
    struct.pack_into("<I", changed, offset, control | bits)
    return bytes(changed)
