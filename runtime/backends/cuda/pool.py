"""Blocks of memory that are reused: allocating on a GPU waits for all of its work.

A block goes back to its pool when nothing refers to it. What may still be read or written by work in a stream has to
be referred to until that work is done.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

_SMALLEST = 256  # the alignment of every tensor that an engine is bound to
_STEP = 1 << 20


class Block:
    """Memory at ``address``; goes back to its pool when nothing refers to it."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = address
        self.nbytes = nbytes


def block_size(nbytes: int) -> int:
    """The size of the block that ``nbytes`` get: never empty; few sizes among small ones, little waste in large."""
    if nbytes <= _STEP:
        return max(_SMALLEST, 1 << max(0, nbytes - 1).bit_length())
    return -(-nbytes // _STEP) * _STEP


class Pool:
    """Blocks of one kind of memory. Up to ``keep`` bytes of what is not in use are kept; thread-safe."""

    def __init__(self, allocate: Callable[[int], int], free: Callable[[int], None], keep: int) -> None:
        self._allocate = allocate
        self._free = free
        self._keep = keep
        self._spare: dict[int, list[int]] = {}
        self._kept = 0
        # A block may be released by the garbage collector in the middle of ``take``: reentrant.
        self._lock = threading.RLock()

    def take(self, nbytes: int) -> Block:
        """A block of at least ``nbytes`` and at least one byte; its content is undefined.

        Raises:
            DeviceMemoryError: there is no more.
        """
        size = block_size(nbytes)
        with self._lock:
            addresses = self._spare.get(size)
            if addresses:
                address = addresses.pop()
                self._kept -= size
            else:
                address = self._allocate(size)
        block = Block(address, size)
        # Not at exit: the driver is gone by then, and takes all memory with it.
        weakref.finalize(block, self._release, address, size).atexit = False
        return block

    def _release(self, address: int, size: int) -> None:
        with self._lock:
            if self._kept + size > self._keep:
                self._free(address)
            else:
                self._spare.setdefault(size, []).append(address)
                self._kept += size
