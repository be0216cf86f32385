"""What a running program tells of its device: memory and temperature, where something knows them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors
from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.errors import XSamError

_ZONES = "/sys/class/thermal/thermal_zone*"
_OF_GPU = re.compile(r"gpu", re.IGNORECASE)
_OF_CPU = re.compile(r"cpu|soc|x86_pkg", re.IGNORECASE)


@dataclass(frozen=True)
class Memory:
    """Bytes. ``process`` is what this process has in the machine's memory; of a GPU what all programs use of it."""

    process: int | None
    device_used: int | None = None
    device_total: int | None = None


def resident_bytes(host: Host) -> int | None:
    """What this process has in the machine's memory; None where the system does not say."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", host.read("/proc/self/status") or "", re.MULTILINE)
    return 1024 * int(found[1]) if found else None


def memory(host: Host, backend: object) -> Memory:
    """What is used now, of a GPU where ``backend`` has one."""
    process = resident_bytes(host)
    if isinstance(backend, DeviceTensors):
        try:
            free, total = backend.free_memory()
        except XSamError:
            return Memory(process)
        return Memory(process, total - free, total)
    return Memory(process)


def temperatures(host: Host) -> dict[str, float]:
    """Degrees Celsius by the name of the zone: those of a board's GPU and CPU, or what else it has."""
    zones: dict[str, float] = {}
    for zone in host.glob(_ZONES):
        name, value = host.read(f"{zone}/type"), host.read(f"{zone}/temp")  # a zone that is off cannot be read
        if name and value and re.fullmatch(r"-?\d+", value):
            zones[name] = 1e-3 * int(value)
    chosen = {name: value for name, value in zones.items() if _OF_GPU.search(name) or _OF_CPU.search(name)}
    return chosen or zones


def gpu_temperature() -> Callable[[], float] | None:
    """What reads the temperature of the first GPU that is not a board's, where NVML and its package are there."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle: Any = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
    except Exception:  # no package, no driver, or a device that does not tell
        return None
    return lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
