"""The CUDA device, asked of the driver's library alone: no package, no context, no memory.

TensorRT's own libraries may crash where there is no device, so that this is asked before they are.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.runtime.backends.cuda.driver import load_driver
from xsam_edge.runtime.errors import NoDeviceError

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
# CUdevice_attribute of cuda.h.
_INTEGRATED, _MAJOR, _MINOR = 18, 75, 76
_NO_DEVICE = 100


@dataclass(frozen=True)
class DeviceInfo:
    """One GPU. ``memory`` is all of it in bytes; an integrated GPU (Jetson) shares it with the CPU."""

    name: str
    compute_capability: str  # such as "8.7"
    memory: int
    integrated: bool
    driver: str  # such as "580.65.06", "" where the kernel module does not say
    cuda: str  # the newest CUDA that the driver runs, such as "13.0"


def find_device(index: int = 0) -> DeviceInfo:
    """The CUDA device ``index``.

    Raises:
        NoDeviceError: no driver, no such device, or a driver that does not answer.
    """
    cuda = load_driver()
    _call(cuda, "cuInit", 0)
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if index >= count.value:
        raise NoDeviceError(f"CUDA sees {count.value} devices, number {index} is none; check CUDA_VISIBLE_DEVICES")
    device, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    _call(cuda, "cuDeviceGetName", name, len(name), device)
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
    return DeviceInfo(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{_attribute(cuda, _MAJOR, device)}.{_attribute(cuda, _MINOR, device)}",
        memory=memory.value,
        integrated=bool(_attribute(cuda, _INTEGRATED, device)),
        driver=driver_version(),
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def driver_version(file: Path = _DRIVER_FILE) -> str:
    """The version of the loaded kernel module, "" if there is none."""
    try:
        version = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", file.read_text(errors="replace"))
    except OSError:
        return ""
    return version[1] if version else ""


def _attribute(cuda: Any, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
    return value.value


def _call(cuda: Any, name: str, *arguments: Any) -> None:
    code = getattr(cuda, name)(*arguments)
    if code == 0:
        return
    if code == _NO_DEVICE:
        raise NoDeviceError("the NVIDIA driver sees no device; check `nvidia-smi` and CUDA_VISIBLE_DEVICES")
    raise NoDeviceError(f"the NVIDIA driver does not answer ({name} returned error {code}); check `nvidia-smi`")
