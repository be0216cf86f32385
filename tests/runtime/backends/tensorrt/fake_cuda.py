"""A cuda-python without a GPU: device memory is host memory, streams run at once, captures are replayed.

Every address is checked: what is read or written has to lie inside of memory that is allocated.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

ALIGNMENT = 256


class Handle(int):
    """A stream, an event or a graph."""


class FakeCudart:
    """The functions of ``cuda.bindings.runtime`` that the backend calls; ``calls`` lists their names in order."""

    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice="upload", cudaMemcpyDeviceToHost="download", cudaMemcpyDeviceToDevice="copy"
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, devices: int = 1) -> None:
        self.devices = devices
        self.calls: list[str] = []
        self.copies: list[tuple[str, int, int, int]] = []  # kind, target, source, bytes
        self.failing: dict[str, int] = {}  # function -> the error that its next call gives
        self._memory: dict[int, tuple[Any, int]] = {}
        self._capture: list[Callable[[], None]] | None = None
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._next = 1

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("cuda") or not callable(value) or name == "cudaGetErrorName":
            return value

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if code := self.failing.pop(name, 0):
                return (code, None)
            return value(*arguments)

        return call

    def nbytes(self) -> int:
        """Memory that is allocated, of the device and of the host."""
        return sum(size for _, size in self._memory.values())

    def check(self, address: int, nbytes: int) -> None:
        """Fail unless these bytes are allocated."""
        assert any(
            start <= address and address + nbytes <= start + size for start, (_, size) in self._memory.items()
        ), f"{nbytes} bytes at {address} are not allocated"

    def submit(self, work: Callable[[], None]) -> None:
        """Run now, or record while a capture is under way."""
        if self._capture is None:
            work()
        else:
            self._capture.append(work)

    def _handle(self) -> Handle:
        self._next += 1
        return Handle(self._next)

    def cudaGetErrorName(self, code: int) -> Any:  # noqa: N802
        return (0, {2: b"cudaErrorMemoryAllocation", 35: b"cudaErrorInsufficientDriver"}.get(code, b"cudaErrorOther"))

    def cudaGetDeviceCount(self) -> Any:  # noqa: N802
        return (0, self.devices)

    def cudaMalloc(self, nbytes: int) -> Any:  # noqa: N802
        memory = ctypes.create_string_buffer(nbytes + ALIGNMENT)
        address = -(-ctypes.addressof(memory) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(address, 0xFF, nbytes)  # NaN: what is read before it is written shows
        self._memory[address] = (memory, nbytes)
        return (0, address)

    cudaMallocHost = cudaMalloc  # noqa: N815

    def cudaFree(self, address: int) -> Any:  # noqa: N802
        del self._memory[address]
        return (0,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(self, target: int, source: int, nbytes: int, kind: str, stream: Handle) -> Any:  # noqa: N802
        assert isinstance(stream, Handle)
        self.check(target, nbytes)
        self.check(source, nbytes)
        self.copies.append((kind, target, source, nbytes))
        self.submit(lambda: ctypes.memmove(target, source, nbytes) and None)
        return (0,)

    def cudaMemcpy2DAsync(  # noqa: N802
        self, target: int, tpitch: int, source: int, spitch: int, width: int, rows: int, kind: str, stream: Handle
    ) -> Any:
        assert isinstance(stream, Handle)
        assert width and rows and width <= min(tpitch, spitch), "cudaErrorInvalidPitchValue"
        self.check(target, (rows - 1) * tpitch + width)
        self.check(source, (rows - 1) * spitch + width)
        self.copies.append((kind, target, source, width * rows))

        def work() -> None:
            for row in range(rows):
                ctypes.memmove(target + row * tpitch, source + row * spitch, width)

        self.submit(work)
        return (0,)

    def cudaMemsetAsync(self, address: int, value: int, nbytes: int, stream: Handle) -> Any:  # noqa: N802
        assert isinstance(stream, Handle)
        self.check(address, nbytes)
        self.submit(lambda: ctypes.memset(address, value, nbytes) and None)
        return (0,)

    def cudaMemset2DAsync(  # noqa: N802
        self, address: int, pitch: int, value: int, width: int, rows: int, stream: Handle
    ) -> Any:
        assert isinstance(stream, Handle)
        assert 0 < width <= pitch
        self.check(address, (rows - 1) * pitch + width)

        def work() -> None:
            for row in range(rows):
                ctypes.memset(address + row * pitch, value, width)

        self.submit(work)
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:  # noqa: N802
        return (0, self._handle())

    cudaEventCreateWithFlags = cudaStreamCreateWithFlags  # noqa: N815

    def cudaEventRecord(self, event: Handle, stream: Handle) -> Any:  # noqa: N802
        return (0,)

    def cudaStreamWaitEvent(self, stream: Handle, event: Handle, flags: int) -> Any:  # noqa: N802
        return (0,)

    def cudaStreamSynchronize(self, stream: Handle) -> Any:  # noqa: N802
        assert self._capture is None, "waiting breaks a capture"
        return (0,)

    def cudaStreamBeginCapture(self, stream: Handle, mode: int) -> Any:  # noqa: N802
        self._capture = []
        return (0,)

    def cudaStreamEndCapture(self, stream: Handle) -> Any:  # noqa: N802
        graph, recorded = self._handle(), self._capture
        assert recorded is not None
        self._capture, self._graphs[graph] = None, recorded
        return (0, graph)

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> Any:  # noqa: N802
        executable = self._handle()
        self._graphs[executable] = self._graphs[graph]
        return (0, executable)

    def cudaGraphLaunch(self, executable: Handle, stream: Handle) -> Any:  # noqa: N802
        for work in self._graphs[executable]:
            work()
        return (0,)

    def cudaGraphDestroy(self, graph: Handle) -> Any:  # noqa: N802
        del self._graphs[graph]
        return (0,)

    cudaGraphExecDestroy = cudaGraphDestroy  # noqa: N815
