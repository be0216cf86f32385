# ruff: noqa: N802
"""What backends call of CUDA's runtime API, on the driver's library alone: no package, whatever CUDA it is built for.

Both share a device's primary context, so that what is allocated here is at home in sessions of ONNX Runtime, and its
streams and events are those of the runtime. Functions return the error code and then what they give, as cuda-python's
do; codes are the driver's, whose numbers the runtime has too.
"""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

from xsam_edge.runtime.errors import NoDeviceError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_Size, _Handle = ctypes.c_size_t, ctypes.c_void_p
Result = tuple[Any, ...]


def load_driver() -> Any:
    """The driver's library.

    Raises:
        NoDeviceError: no driver is installed.
    """
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        raise NoDeviceError(
            f"no NVIDIA driver ({_LIBRARY} is not installed); run on a machine with an NVIDIA GPU, "
            "in a container start it with `--gpus all` or `--runtime nvidia`"
        ) from None


class DriverApi:
    """Functions of the runtime API, by their names there; handles and addresses are integers."""

    # One function of the driver copies in every direction: addresses tell which.
    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice=None, cudaMemcpyDeviceToHost=None, cudaMemcpyDeviceToDevice=None
    )

    def __init__(self, driver: Any = None) -> None:
        """``driver`` in place of the driver's library. Raises NoDeviceError where none is installed."""
        self._driver = driver or load_driver()
        self._contexts: dict[int, Any] = {}  # retained, by device

    def _call(self, name: str, *arguments: Any) -> int:
        code: int = getattr(self._driver, name)(*arguments)
        return code

    def _new(self, name: str, *arguments: Any) -> Result:
        """A function that writes a handle to its first argument."""
        handle = _Handle()
        return self._call(name, ctypes.byref(handle), *arguments), handle.value or 0

    def cudaGetErrorName(self, code: int) -> Result:
        """The driver's name of an error, bytes; None for one that it does not know."""
        name = ctypes.c_char_p()
        return self._call("cuGetErrorName", code, ctypes.byref(name)), name.value

    def cudaGetLastError(self) -> Result:
        """The driver keeps no last error."""
        return (0,)

    def cudaDriverGetVersion(self) -> Result:
        """The newest CUDA that the driver runs, such as 12060."""
        version = ctypes.c_int()
        return self._call("cuDriverGetVersion", ctypes.byref(version)), version.value

    def cudaGetDeviceCount(self) -> Result:
        """How many devices there are."""
        count = ctypes.c_int()
        code = self._call("cuInit", 0) or self._call("cuDeviceGetCount", ctypes.byref(count))
        return code, count.value

    def cudaGetDevice(self) -> Result:
        """The calling thread's device; as in the runtime, 0 where it chose none."""
        context, device = _Handle(), ctypes.c_int()
        code = self._call("cuCtxGetCurrent", ctypes.byref(context))
        if code == 0 and context.value:
            code = self._call("cuCtxGetDevice", ctypes.byref(device))
        return code, device.value

    def cudaSetDevice(self, index: int) -> Result:
        """Make a device's primary context the calling thread's."""
        if index not in self._contexts:
            device, context = ctypes.c_int(), _Handle()
            code = self._call("cuDeviceGet", ctypes.byref(device), index)
            code = code or self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            if code:
                return (code,)
            self._contexts[index] = context
        return (self._call("cuCtxSetCurrent", self._contexts[index]),)

    def cudaMemGetInfo(self) -> Result:
        """Free and all bytes of the device."""
        free, total = _Size(), _Size()
        return self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total)), free.value, total.value

    def cudaMalloc(self, nbytes: int) -> Result:
        """Device memory."""
        return self._new("cuMemAlloc_v2", _Size(nbytes))

    def cudaFree(self, address: int) -> Result:
        """Give it back."""
        return (self._call("cuMemFree_v2", _Handle(address)),)

    def cudaMallocHost(self, nbytes: int) -> Result:
        """Pinned host memory."""
        return self._new("cuMemAllocHost_v2", _Size(nbytes))

    def cudaFreeHost(self, address: int) -> Result:
        """Give it back."""
        return (self._call("cuMemFreeHost", _Handle(address)),)

    def cudaMemcpyAsync(self, target: int, source: int, nbytes: int, kind: None, stream: int) -> Result:
        """Copy from and to wherever the addresses are."""
        return (self._call("cuMemcpyAsync", _Handle(target), _Handle(source), _Size(nbytes), _Handle(stream)),)

    def cudaMemsetAsync(self, address: int, value: int, nbytes: int, stream: int) -> Result:
        """Set bytes."""
        return (self._call("cuMemsetD8Async", _Handle(address), ctypes.c_ubyte(value), _Size(nbytes), _Handle(stream)),)

    def cudaMemset2DAsync(self, address: int, pitch: int, value: int, width: int, rows: int, stream: int) -> Result:
        """Set ``rows`` of ``width`` bytes."""
        sizes = _Size(pitch), ctypes.c_ubyte(value), _Size(width), _Size(rows)
        return (self._call("cuMemsetD2D8Async", _Handle(address), *sizes, _Handle(stream)),)

    def cudaStreamCreateWithFlags(self, flags: int) -> Result:
        """A new stream."""
        return self._new("cuStreamCreate", flags)

    def cudaStreamSynchronize(self, stream: int) -> Result:
        """Wait for a stream."""
        return (self._call("cuStreamSynchronize", _Handle(stream)),)

    def cudaMemcpy2DAsync(
        self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int, kind: None,
        stream: int,
    ) -> Result:  # fmt: skip
        """Copy ``rows`` of ``width`` bytes."""
        copy = _Copy2D(
            srcMemoryType=_UNIFIED, srcDevice=source, srcPitch=source_pitch,
            dstMemoryType=_UNIFIED, dstDevice=target, dstPitch=target_pitch, WidthInBytes=width, Height=rows,
        )  # fmt: skip
        return (self._call("cuMemcpy2DAsync_v2", ctypes.byref(copy), _Handle(stream)),)


_UNIFIED = 4  # CU_MEMORYTYPE_UNIFIED


class _Copy2D(ctypes.Structure):
    """``CUDA_MEMCPY2D_v2`` of cuda.h."""

    _fields_ = (
        ("srcXInBytes", _Size), ("srcY", _Size), ("srcMemoryType", ctypes.c_uint), ("srcHost", _Handle),
        ("srcDevice", ctypes.c_ulonglong), ("srcArray", _Handle), ("srcPitch", _Size),
        ("dstXInBytes", _Size), ("dstY", _Size), ("dstMemoryType", ctypes.c_uint), ("dstHost", _Handle),
        ("dstDevice", ctypes.c_ulonglong), ("dstArray", _Handle), ("dstPitch", _Size),
        ("WidthInBytes", _Size), ("Height", _Size),
    )  # fmt: skip
