"""The backend of TensorRT and TensorRT-RTX engines.

Every tensor stays on the device but what is uploaded and downloaded by name, through pinned memory. Two streams: one
encodes images, the other does the rest. Runs return when their outputs are written; with ``overlap`` a second thread
may encode the next image while the first asks about the current one. Without it all engines share the memory of their
activations, and such threads take turns.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.backends.tensorrt.cuda import Cuda, import_cudart
from xsam_edge.runtime.backends.tensorrt.engine import Library
from xsam_edge.runtime.backends.tensorrt.graph import Activations, TensorRTGraph
from xsam_edge.runtime.backends.tensorrt.memory import Block, Pool
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP, STREAMS, aligned, first_rows, row_steps
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineInfo
from xsam_edge.runtime.bundle.manifest import GraphSpec, Manifest
from xsam_edge.runtime.errors import BackendError, NoDeviceError

# Memory that is kept for reuse: the features of an image and what a prompt needs, in a full-size model.
_KEEP = 256 << 20


class TensorRTBackend:
    """Runs the engines of one bundle.

    The caller has checked the hashes of the bundle's files, and with ``engines.check_engine`` that they run here.
    """

    past_step = PAST_STEP
    runs_without_logits = False  # never tried on a GPU, and the row that is asked for instead costs little there

    def __init__(self, manifest: Manifest, *, overlap: bool = False, cudart: Any = None, trt: Any = None) -> None:
        """Open the device.

        Args:
            manifest: the bundle's.
            overlap: give each stream activation memory of its own.
            cudart: in place of cuda-python's runtime module.
            trt: in place of TensorRT's module.

        Raises:
            BackendError: the bundle holds no engines, or cuda-python does not load.
            NoDeviceError: there is no CUDA device.
        """
        if manifest.engine is None:
            raise BackendError("this bundle holds ONNX graphs, no engines; load it without a backend")
        self.name: str = manifest.engine.flavour
        self._engine: EngineInfo = manifest.engine
        profiles = manifest.engine.profiles[contract.LLM]
        self.prefill_rows, self.row_steps = first_rows(profiles), row_steps(profiles)
        self._graphs = {spec.file: name for name, spec in manifest.graphs.items()}
        self._cuda = Cuda(cudart or import_cudart())
        if not self._cuda.device_count():  # asked first: TensorRT crashes without one
            raise NoDeviceError("CUDA sees no device; check `nvidia-smi` and CUDA_VISIBLE_DEVICES")
        self._library = Library(manifest.engine.flavour, trt)
        self._device = Pool(self._cuda.allocate, self._cuda.free, _KEEP)
        self._pinned = Pool(self._cuda.allocate_pinned, self._cuda.free_pinned, _KEEP)
        self._streams = {index: self._cuda.stream() for index in sorted(set(STREAMS.values()))}
        # Not from the pool that keeps what is given back: activations only ever grow.
        pool = Pool(self._cuda.allocate, self._cuda.free, 0)
        shared = Activations(pool)
        self._activations = {index: Activations(pool) if overlap else shared for index in self._streams}
        self._transfers = self._cuda.stream()
        self._lock = threading.Lock()
        self._in_flight: list[Block] = []  # pinned memory that uploads still read

    def open(self, path: Path, spec: GraphSpec) -> TensorRTGraph:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        name = self._graphs[spec.file]
        profiles = self._engine.profiles[name]
        engine = self._library.deserialise(path, spec, len(profiles))
        index = STREAMS[name]
        self._activations[index].grow(int(engine.device_memory_size_v2))
        return TensorRTGraph(
            spec, profiles, engine, self._library, self._cuda, self._streams[index], self._activations[index], self
        )

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        dtype = np.dtype(dtype)
        block = self._device.take(prod(shape) * dtype.itemsize)
        return Buffer(block.address, shape, dtype, block)

    def allocate_alike(self, count: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> list[Buffer]:
        """See :class:`xsam_edge.runtime.chain.kv_cache.PadsPasts`."""
        dtype = np.dtype(dtype)
        distance = aligned(prod(shape) * dtype.itemsize)
        block = self._device.take(count * distance)
        self._cuda.clear(block.address, count * distance, self._transfers)
        return [Buffer(block.address + index * distance, shape, dtype, block) for index in range(count)]

    def clear_alike(self, views: Sequence[Buffer]) -> None:
        """See :class:`xsam_edge.runtime.chain.kv_cache.PadsPasts`."""
        first = views[0]
        distance = views[1].address - first.address if len(views) > 1 else first.nbytes
        self._cuda.clear_2d(first.address, distance, first.nbytes, len(views), self._transfers)

    def pad_rows(self, rows: Buffer, count: int) -> Buffer:
        """See :class:`xsam_edge.runtime.chain.kv_cache.PadsRows`."""
        return self.assemble([rows, np.zeros((1, count - rows.shape[1], *rows.shape[2:]), rows.dtype)])

    def upload(self, array: Array) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`. Returns at once; runs wait for the copy."""
        buffer = self.allocate(array.shape, array.dtype)
        self._put(array, buffer.address)
        return buffer

    def download(self, buffer: Buffer) -> Array:
        """See :class:`xsam_edge.runtime.backends.base.Backend`. Any view will do; the array owns its pinned memory."""
        if not buffer.nbytes:
            return np.empty(buffer.shape, buffer.dtype)
        block = self._pinned.take(buffer.nbytes)
        self._cuda.download(block.address, buffer.address, buffer.nbytes, self._transfers)
        self.synchronize()
        memory = (ctypes.c_uint8 * buffer.nbytes).from_address(block.address)
        memory.block = block  # type: ignore[attr-defined]  # the array's base, which so keeps the block
        array: Array = np.ctypeslib.as_array(memory).view(buffer.dtype).reshape(buffer.shape)
        return array

    download_view = download

    def assemble(self, parts: Sequence[Array | Buffer]) -> Buffer:
        """Join tensors [1, n, ...] of the host and of the device along axis 1; those of the device never leave it."""
        first, count = parts[0], sum(part.shape[1] for part in parts)
        joined = self.allocate((1, count, *first.shape[2:]), first.dtype)
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
