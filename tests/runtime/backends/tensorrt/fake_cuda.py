# ruff: noqa: N802
"""A cuda-python without a GPU: device memory is host memory, streams run at once, captures are replayed.

It refuses what CUDA refuses: memory that is not allocated, more than a device has, a stream of another device than the
thread's, and in a thread that captures whatever would break the capture, which it then does.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

ALIGNMENT = 256
NAMES = {
    1: "cudaErrorInvalidValue",
    2: "cudaErrorMemoryAllocation",
    35: "cudaErrorInsufficientDriver",
    100: "cudaErrorNoDevice",
    101: "cudaErrorInvalidDevice",
    400: "cudaErrorInvalidResourceHandle",
    900: "cudaErrorStreamCaptureUnsupported",
    901: "cudaErrorStreamCaptureInvalidated",
}
INVALID_VALUE, OUT_OF_MEMORY, INVALID_DEVICE, INVALID_HANDLE, UNSUPPORTED, INVALIDATED = 1, 2, 101, 400, 900, 901
# What a thread may not call while it captures (cudaStreamCaptureModeThreadLocal).
UNSAFE = ("cudaMalloc", "cudaMallocHost", "cudaFree", "cudaFreeHost", "cudaStreamSynchronize")


class Handle(int):
    """A stream, an event or a graph."""


class FakeCudart:
    """The functions of ``cuda.bindings.runtime`` that the backend calls; ``calls`` lists their names in order.

    ``capacity`` is what each of its ``devices`` has, in bytes.
    """

    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice="upload", cudaMemcpyDeviceToHost="download", cudaMemcpyDeviceToDevice="copy"
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, devices: int = 1, capacity: int = 1 << 40) -> None:
        self.devices = devices
        self.capacity = capacity
        self.version = 13000  # the newest CUDA that the driver runs
        self.calls: list[str] = []
        self.copies: list[tuple[str, int, int, int]] = []  # kind, target, source, bytes
        self.failing: dict[str, int] = {}  # function -> the error that its next call gives
        self.last_error = 0
        self.capturing: Handle | None = None  # the stream
        self._thread = threading.local()
        self._memory: dict[int, tuple[Any, int, int | None]] = {}  # buffer, bytes and device; None is the host
        self._recorded: list[Callable[[], None]] | None = None  # None in a capture that broke
        self._capturer = 0  # the thread that captures
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._handles: dict[int, int] = {}  # stream or event -> device
        self._next = 1

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("cuda") or not callable(value) or name in ("cudaGetErrorName", "cudaGetLastError"):
            return value

        def call(*arguments: Any) -> Any:
            if name not in ("cudaGetDevice", "cudaSetDevice", "cudaMemGetInfo", "cudaGetDeviceCount"):
                self.calls.append(name)
            code = self.failing.pop(name, 0)
            if not code and name in UNSAFE and self.capturing is not None and self._capturer == threading.get_ident():
                code, self._recorded = UNSUPPORTED, None
            result = (code, None) if code else value(*arguments)
            self.last_error = result[0] or self.last_error
            return result

        return call

    @property
    def current(self) -> int:
        """The calling thread's device; like CUDA's, 0 in one that chose none."""
        return getattr(self._thread, "device", 0)

    def nbytes(self) -> int:
        """Memory that is allocated, of the devices and of the host."""
        return sum(size for _, size, _ in self._memory.values())

    def used(self, device: int) -> int:
        """Memory of a device that is allocated."""
        return sum(size for _, size, found in self._memory.values() if found == device)

    def device_of(self, address: int) -> int | None:
        """The device of an allocation."""
        return self._memory[address][2]

    def check(self, address: int, nbytes: int) -> None:
        """Fail unless these bytes are allocated."""
        assert any(
            start <= address and address + nbytes <= start + size for start, (_, size, _) in self._memory.items()
        ), f"{nbytes} bytes at {address} are not allocated"

    def submit(self, stream: int, work: Callable[[], None]) -> int:
        """Run now, or record while this stream is captured; returns an error code."""
        if self._handles.get(stream) != self.current:
            return INVALID_HANDLE
        if self.capturing != stream:
            work()
        elif self._recorded is None:
            return INVALIDATED
        else:
            self._recorded.append(work)
        return 0

    def _handle(self) -> Handle:
        self._next += 1
        self._handles[self._next] = self.current
        return Handle(self._next)

    def cudaGetErrorName(self, code: int) -> Any:
        return (0, NAMES.get(code, "cudaErrorOther").encode())

    def cudaGetLastError(self) -> Any:
        code, self.last_error = self.last_error, 0
        return (code,)

    def cudaDriverGetVersion(self) -> Any:
        return (0, self.version)

    def cudaGetDeviceCount(self) -> Any:
        return (0, self.devices)

    def cudaGetDevice(self) -> Any:
        return (0, self.current)

    def cudaSetDevice(self, device: int) -> Any:
        if not 0 <= device < self.devices:
            return (INVALID_DEVICE,)
        self._thread.device = device
        return (0,)

    def cudaMemGetInfo(self) -> Any:
        return (0, self.capacity - self.used(self.current), self.capacity)

    def _allocate(self, nbytes: int, device: int | None) -> Any:
        memory = ctypes.create_string_buffer(nbytes + ALIGNMENT)
        address = -(-ctypes.addressof(memory) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(address, 0xFF, nbytes)  # NaN: what is read before it is written shows
        self._memory[address] = (memory, nbytes, device)
        return (0, address)

    def cudaMalloc(self, nbytes: int) -> Any:
        if self.used(self.current) + nbytes > self.capacity:
            return (OUT_OF_MEMORY, None)
        return self._allocate(nbytes, self.current)

    def cudaMallocHost(self, nbytes: int) -> Any:
        return self._allocate(nbytes, None)

    def cudaFree(self, address: int) -> Any:
        return (0,) if self._memory.pop(address, None) else (INVALID_VALUE,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(self, target: int, source: int, nbytes: int, kind: str, stream: int) -> Any:
        self.check(target, nbytes)
        self.check(source, nbytes)
        self.copies.append((kind, target, source, nbytes))
        return (self.submit(stream, lambda: ctypes.memmove(target, source, nbytes) and None),)

    def cudaMemcpy2DAsync(
        self, target: int, tpitch: int, source: int, spitch: int, width: int, rows: int, kind: str, stream: int
    ) -> Any:
        assert width and rows and width <= min(tpitch, spitch), "cudaErrorInvalidPitchValue"
        self.check(target, (rows - 1) * tpitch + width)
        self.check(source, (rows - 1) * spitch + width)
        self.copies.append((kind, target, source, width * rows))

        def work() -> None:
            for row in range(rows):
                ctypes.memmove(target + row * tpitch, source + row * spitch, width)

        return (self.submit(stream, work),)

    def cudaMemsetAsync(self, address: int, value: int, nbytes: int, stream: int) -> Any:
        self.check(address, nbytes)
        return (self.submit(stream, lambda: ctypes.memset(address, value, nbytes) and None),)

    def cudaMemset2DAsync(self, address: int, pitch: int, value: int, width: int, rows: int, stream: int) -> Any:
        assert 0 < width <= pitch
        self.check(address, (rows - 1) * pitch + width)

        def work() -> None:
            for row in range(rows):
                ctypes.memset(address + row * pitch, value, width)

        return (self.submit(stream, work),)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return (0, self._handle())

    cudaEventCreateWithFlags = cudaStreamCreateWithFlags  # noqa: N815

    def cudaEventRecord(self, event: int, stream: int) -> Any:
        return (self.submit(stream, lambda: None),)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> Any:
        return (self.submit(stream, lambda: None),)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        return (0 if self._handles.get(stream) == self.current else INVALID_HANDLE,)

    def cudaStreamBeginCapture(self, stream: Handle, mode: int) -> Any:
        assert self.capturing is None
        self.capturing, self._recorded, self._capturer = stream, [], threading.get_ident()
        return (0,)

    def cudaStreamEndCapture(self, stream: Handle) -> Any:
        assert self.capturing == stream
        recorded, self.capturing, self._recorded = self._recorded, None, None
        if recorded is None:
            return (INVALIDATED, None)
        graph = self._handle()
        self._graphs[graph] = recorded
        return (0, graph)

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> Any:
        executable = self._handle()
        self._graphs[executable] = self._graphs[graph]
        return (0, executable)

    def cudaGraphLaunch(self, executable: Handle, stream: Handle) -> Any:
        for work in self._graphs[executable]:
            self.submit(stream, work)
        return (0,)

    def cudaGraphDestroy(self, graph: Handle) -> Any:
        del self._graphs[graph]
        return (0,)

    cudaGraphExecDestroy = cudaGraphDestroy  # noqa: N815
