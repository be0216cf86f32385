"""Kernels that TensorRT-RTX compiled on this machine, kept in a file from one start to the next.

An engine of TensorRT-RTX holds no machine code: its kernels are compiled where it runs, at the first start for every
layer and afterwards for shapes as they come. The file belongs to one release of the library, one GPU and one driver,
which its name says; the library checks that once more and refuses what is none of its own.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xsam_edge.runtime.units import size
from xsam_edge.runtime.user_cache import user_cache

_log = logging.getLogger(__name__)

# Seconds until kernels are written for the first time; from then on each wait is twice as long, as few are new.
_FIRST_WAIT = 10.0
_OTHERS_MAY_WRITE = 0o022


def kernel_file(bundle: Path, identity: str, parts: Mapping[str, str], cache_home: Path | None = None) -> Path:
    """Where the kernels of a bundle's engines are kept: in its folder, or where that cannot be written the user's.

    Args:
        bundle: its folder.
        identity: what tells its engines from those of other bundles, hexadecimal.
        parts: release of the library, GPU and driver, which the file's name consists of.
        cache_home: in place of ``$XDG_CACHE_HOME`` and ``~/.cache``.
    """
    name = "-".join(["kernels", *(re.sub(r"[^\w.]+", "_", part) or "unknown" for part in parts.values())]) + ".rtxcache"
    if os.access(bundle, os.W_OK):
        return bundle / name
    home = user_cache() if cache_home is None else cache_home / "xsam-edge"
    return home / identity[:16] / name


@dataclass
class _State:
    """What outlives the :class:`KernelCache`, to be written when it goes."""

    file: Path
    cache: Any = None
    stored: int = 0  # bytes in the file, of what the library has

    def save(self) -> None:
        """Write the file if there is more than before; a folder that cannot be written is logged."""
        if self.cache is None:
            return
        content = bytes(self.cache.serialize() or b"")
        if len(content) <= self.stored:
            return
        try:
            _replace(self.file, content)
        except OSError as error:
            _log.warning("%s cannot be written (%s): the next start compiles kernels anew", self.file, error)
            return
        self.stored = len(content)
        _log.info("%s of kernels are kept in %s", size(self.stored), self.file)


@dataclass
class KernelCache:
    """The kernels of a bundle's engines. ``found`` is how many bytes an earlier start left, 0 at the first one."""

    file: Path
    clock: Callable[[], float] = time.monotonic
    found: int = 0
    _state: _State = field(init=False)
    _wait: float = _FIRST_WAIT
    _due: float = field(init=False)

    def __post_init__(self) -> None:
        self._state = _State(self.file)
        self._due = self.clock() + self._wait
        weakref.finalize(self, self._state.save)  # also when the process ends

    def attach(self, config: Any) -> None:
        """Let a context that is made with ``config`` (``IRuntimeConfig``) find and leave its kernels here.

        All contexts share one cache, which the first one fills from the file.
        """
        if self._state.cache is None:
            self._state.cache = config.create_runtime_cache()
            self._load()
        config.set_runtime_cache(self._state.cache)

    def _load(self) -> None:
        content = _read_own(self.file)
        if content and self._state.cache.deserialize(content):
            self.found = self._state.stored = len(content)
        elif content:
            _log.warning("%s is refused by TensorRT-RTX: kernels are compiled anew", self.file)

    def ran(self) -> None:
        """To be called after runs: writes the file now and then, as a process may be killed."""
        if self.clock() >= self._due:
            self._state.save()
            self._wait *= 2
            self._due = self.clock() + self._wait

    def save(self) -> None:
        """Write what was compiled since."""
        self._state.save()

    def summary(self) -> str:
        """What this start finds, one line."""
        if self.found:
            return f"kernels: {size(self.found)} of an earlier start, from {self.file}"
        return f"kernels: none of an earlier start; this one compiles them and keeps them in {self.file}"


def _read_own(file: Path) -> bytes:
    """The content of a file that nobody but this user writes: kernels are code. Empty where there is none."""
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            foreign = hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & _OTHERS_MAY_WRITE)
            if not foreign:
                return opened.read()
    except OSError:
        return b""
    _log.warning("%s is not read, as others may write it: kernels are compiled anew", file)
    return b""


def _replace(file: Path, content: bytes) -> None:
    """Write a file in one step; it is this user's alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
