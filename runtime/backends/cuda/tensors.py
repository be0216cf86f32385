"""Tensors of a GPU: allocated from pools, and copied from and to the host through pinned memory in a stream."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.backends.cuda.pool import Block, Pool
from xsam_edge.runtime.backends.tensorrt.plan import Copy, aligned

# Memory that is kept for reuse: the features of an image and what a prompt needs, in a full-size model.
_KEEP = 256 << 20


def copy_all(cuda: Cuda, copies: Sequence[Copy], stream: Any) -> None:
    """Put copies on the device into a stream."""
    for copy in copies:
        if copy.rows == 1:
            cuda.copy(copy.target, copy.source, copy.nbytes, stream)
        else:
            target, source = (copy.target, copy.target_pitch), (copy.source, copy.source_pitch)
            cuda.copy_2d(*target, *source, copy.nbytes, copy.rows, stream)


class DeviceTensors:
    """The half of a backend that holds memory; see :class:`xsam_edge.runtime.backends.base.Backend`.

    Any thread may call; each call is on the device of ``cuda``.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._device = Pool(cuda.allocate, cuda.free, _KEEP)
        self._pinned = Pool(cuda.allocate_pinned, cuda.free_pinned, _KEEP)
        self._transfers = cuda.stream()
        self._lock = threading.Lock()
        self._in_flight: list[Block] = []  # pinned memory that uploads still read

    def free_memory(self) -> tuple[int, int]:
        """Bytes of the GPU that nobody has, and all of them."""
        with self._cuda.device():
            return self._cuda.memory()

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Uninitialised memory on the device.

        Raises:
            DeviceMemoryError: there is no more.
        """
        with self._cuda.device():
            return self._allocate(shape, np.dtype(dtype))

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Buffer:
        block = self._device.take(prod(shape) * dtype.itemsize)
        return Buffer(block.address, shape, dtype, block)

    def allocate_alike(self, count: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> list[Buffer]:
        """See :class:`xsam_edge.runtime.chain.kv_cache.PadsPasts`."""
        dtype = np.dtype(dtype)
        distance = aligned(prod(shape) * dtype.itemsize)
        with self._cuda.device():
            block = self._device.take(count * distance)
            self._cuda.clear(block.address, count * distance, self._transfers)
        return [Buffer(block.address + index * distance, shape, dtype, block) for index in range(count)]

    def clear_alike(self, views: Sequence[Buffer]) -> None:
        """See :class:`xsam_edge.runtime.chain.kv_cache.PadsPasts`."""
        first = views[0]
        distance = views[1].address - first.address if len(views) > 1 else first.nbytes
        with self._cuda.device():
            self._cuda.clear_2d(first.address, distance, first.nbytes, len(views), self._transfers)

    def pad_rows(self, rows: Buffer, count: int) -> Buffer:
        """See :class:`xsam_edge.runtime.chain.kv_cache.PadsRows`."""
        return self.assemble([rows, np.zeros((1, count - rows.shape[1], *rows.shape[2:]), rows.dtype)])

    def upload(self, array: Array) -> Buffer:
        """The array on the device. Returns at once; runs wait for the copy."""
        with self._cuda.device():
            buffer = self._allocate(array.shape, array.dtype)
            self._put(array, buffer.address)
        return buffer

    def download(self, buffer: Buffer) -> Array:
        """A buffer as an array. Any view will do; the array owns its pinned memory."""
        if not buffer.nbytes:
            return np.empty(buffer.shape, buffer.dtype)
        with self._cuda.device():
            block = self._pinned.take(buffer.nbytes)
            self._cuda.download(block.address, buffer.address, buffer.nbytes, self._transfers)
            self._wait()
        memory = (ctypes.c_uint8 * buffer.nbytes).from_address(block.address)
        memory.block = block  # type: ignore[attr-defined]  # the array's base, which so keeps the block
        array: Array = np.ctypeslib.as_array(memory).view(buffer.dtype).reshape(buffer.shape)
        return array

    def download_view(self, buffer: Buffer) -> Array:
        """See :class:`xsam_edge.runtime.backends.base.ReadsViews`."""
        return self.download(buffer)

    def assemble(self, parts: Sequence[Array | Buffer]) -> Buffer:
        """Join tensors [1, n, ...] of the host and of the device along axis 1; those of the device never leave it.

        Raises:
            ValueError: they differ in dtype or in the axes behind the second.
        """
        first, count = parts[0], sum(part.shape[1] for part in parts)
        with self._cuda.device():
            joined = self._allocate((1, count, *first.shape[2:]), first.dtype)
            start = 0
            for part in parts:
                rows = joined.tokens(start, start + part.shape[1])
                if part.dtype != joined.dtype or part.shape[2:] != joined.shape[2:]:
                    raise ValueError(f"{part.dtype} {part.shape} does not continue {joined.dtype} {joined.shape}")
                if isinstance(part, Buffer):
                    self._cuda.copy(rows.address, part.address, rows.nbytes, self._transfers)
                else:
                    self._put(part, rows.address)
                start += part.shape[1]
        # Copies are still under way: what they read lives as long as what they write.
        return replace(joined, owner=(joined.owner, [part for part in parts if isinstance(part, Buffer)]))

    def follow_transfers(self, stream: Any, event: Any) -> None:
        """Let a stream wait for every upload so far."""
        self._cuda.wait(stream, event, self._transfers)

    def synchronize(self) -> None:
        """Wait for every transfer so far, and let go of the memory that they read."""
        with self._cuda.device():
            self._wait()

    def _wait(self) -> None:
        with self._lock:
            done, self._in_flight = self._in_flight, []
        self._cuda.synchronise(self._transfers)
        done.clear()

    def _put(self, array: Array, address: int) -> None:
        array = np.ascontiguousarray(array)
        if not array.nbytes:
            return
        block = self._pinned.take(array.nbytes)
        ctypes.memmove(block.address, array.ctypes.data, array.nbytes)
        with self._lock:
            self._cuda.upload(address, block.address, array.nbytes, self._transfers)
            self._in_flight.append(block)
