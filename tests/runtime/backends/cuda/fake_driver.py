# ruff: noqa: N802
"""The driver's library without a driver, as ``ctypes`` calls it: device memory is host memory, streams run at once.

As CUDA's own, it refuses what needs a context in a thread that has none, memory that was not allocated, and a second
``free``.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE, INVALID_DEVICE, INVALID_CONTEXT = 1, 2, 100, 101, 201
NAMES = {2: b"CUDA_ERROR_OUT_OF_MEMORY", 100: b"CUDA_ERROR_NO_DEVICE", 201: b"CUDA_ERROR_INVALID_CONTEXT"}


class FakeDriver:
    """The functions of ``libcuda.so.1`` that :class:`DriverApi` calls."""

    def __init__(self, devices: int = 1, version: int = 13000, capacity: int = 1 << 30) -> None:
        self.devices, self.version, self.capacity = devices, version, capacity
        self.retained: list[int] = []
        self._thread = threading.local()
        self._memory: dict[int, Any] = {}
        self._streams = 0

    @staticmethod
    def _set(pointer: Any, value: Any) -> int:
        pointer._obj.value = value
        return 0

    def _in_context(self) -> bool:
        return getattr(self._thread, "context", None) is not None

    def _holds(self, address: Any, nbytes: Any) -> bool:
        starts = [start for start in self._memory if start <= address.value]
        start = max(starts, default=0)
        return bool(starts) and address.value + nbytes.value <= start + len(self._memory[start])

    def cuInit(self, flags: int) -> int:
        return NO_DEVICE if not self.devices else 0

    def cuDriverGetVersion(self, out: Any) -> int:
        return self._set(out, self.version)

    def cuDeviceGetCount(self, out: Any) -> int:
        return self._set(out, self.devices)

    def cuDeviceGet(self, out: Any, index: int) -> int:
        return self._set(out, index) if index < self.devices else INVALID_DEVICE

    def cuDevicePrimaryCtxRetain(self, out: Any, device: Any) -> int:
        self.retained.append(device.value)
        return self._set(out, 0x1000 + device.value)

    def cuCtxSetCurrent(self, context: Any) -> int:
        self._thread.context = context.value
        return 0

    def cuCtxGetCurrent(self, out: Any) -> int:
        return self._set(out, getattr(self._thread, "context", None))

    def cuCtxGetDevice(self, out: Any) -> int:
        return self._set(out, self._thread.context - 0x1000) if self._in_context() else INVALID_CONTEXT

    def cuGetErrorName(self, code: int, out: Any) -> int:
        return self._set(out, NAMES.get(code))

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        used = sum(len(memory) for memory in self._memory.values())
        self._set(free, self.capacity - used)
        return self._set(total, self.capacity) if self._in_context() else INVALID_CONTEXT

    def cuMemAlloc_v2(self, out: Any, nbytes: Any) -> int:
        if not self._in_context():
            return INVALID_CONTEXT
        if nbytes.value > self.capacity:
            return OUT_OF_MEMORY
        memory = (ctypes.c_ubyte * nbytes.value)()
        self._memory[ctypes.addressof(memory)] = memory
        return self._set(out, ctypes.addressof(memory))

    cuMemAllocHost_v2 = cuMemAlloc_v2  # noqa: N815

    def cuMemFree_v2(self, address: Any) -> int:
        return 0 if self._memory.pop(address.value, None) is not None else INVALID_VALUE

    cuMemFreeHost = cuMemFree_v2  # noqa: N815

    def cuMemcpyAsync(self, target: Any, source: Any, nbytes: Any, stream: Any) -> int:
        if not (self._holds(target, nbytes) and self._holds(source, nbytes) and stream.value):
            return INVALID_VALUE
        ctypes.memmove(target.value, source.value, nbytes.value)
        return 0

    def cuMemcpy2DAsync_v2(self, copy: Any, stream: Any) -> int:
        plan = copy._obj
        if (plan.srcMemoryType, plan.dstMemoryType) != (4, 4) or plan.WidthInBytes > min(plan.srcPitch, plan.dstPitch):
            return INVALID_VALUE
        for row in range(plan.Height):
            target, source = plan.dstDevice + row * plan.dstPitch, plan.srcDevice + row * plan.srcPitch
            ctypes.memmove(target, source, plan.WidthInBytes)
        return 0

    def cuMemsetD8Async(self, address: Any, value: Any, nbytes: Any, stream: Any) -> int:
        if not self._holds(address, nbytes):
            return INVALID_VALUE
        ctypes.memset(address.value, value.value, nbytes.value)
        return 0

    def cuMemsetD2D8Async(self, address: Any, pitch: Any, value: Any, width: Any, rows: Any, stream: Any) -> int:
        for row in range(rows.value):
            ctypes.memset(address.value + row * pitch.value, value.value, width.value)
        return 0

    def cuStreamCreate(self, out: Any, flags: int) -> int:
        if not self._in_context():
            return INVALID_CONTEXT
        self._streams += 1
        return self._set(out, self._streams)

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 0 if 0 < (stream.value or 0) <= self._streams else INVALID_VALUE
