"""Which backend a device's name stands for."""

from __future__ import annotations

from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.backends.onnxruntime.backend import OnnxRuntimeBackend
from xsam_edge.runtime.backends.onnxruntime.gpu import GpuBackend
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA, TENSORRT_RTX
from xsam_edge.runtime.errors import BackendError

#: What ``--device`` takes.
DEVICES = ("cpu", "cuda", "tensorrt-rtx")


def open_device(device: str = "cpu", threads: int = 0) -> Backend:
    """ONNX Runtime on one of ``DEVICES``; ``threads`` are those of the CPU, 0 for every core.

    Raises:
        BackendError: an unknown device, or one that the installed ONNX Runtime or this machine does not have; the
            message says what is missing.
    """
    match device:
        case "cpu":
            return OnnxRuntimeBackend(device, threads)
        case "cuda":
            return GpuBackend(CUDA)
        case "tensorrt-rtx":
            return GpuBackend(TENSORRT_RTX)
    raise BackendError(f"device {device!r} is unknown; choose one of {', '.join(DEVICES)}")
