"""The devices that engines are built for, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.device.memory_plan import GIB, DeviceMemory, device_memory
from xsam_edge.runtime.errors import InputError

AUTO = "auto"


@dataclass(frozen=True)
class Target:
    """One kind of device. ``context`` is what is chosen where a user does not."""

    name: str
    compute_capability: str  # "" where it is not known: "auto" on a machine without a GPU
    memory: DeviceMemory | None
    context: int
    jetson: bool = False


def _jetson(name: str, capability: str, gib: int, context: int) -> Target:
    # Linux, a desktop and CUDA's own memory come out of the same chips.
    memory = DeviceMemory(gib * GIB, 2 * GIB, shared=True)
    return Target(name, capability, memory, context, jetson=True)


def _desktop(name: str, capability: str, gib: int, context: int = 4096) -> Target:
    return Target(name, capability, DeviceMemory(gib * GIB, GIB, shared=False), context)


#: Name -> target. Memory is that of the module's or the series' usual size; ``--memory`` says another.
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _jetson("orin-nano", "8.7", 8, 2048),
        _jetson("orin-nx", "8.7", 16, 4096),
        _jetson("agx-orin", "8.7", 64, 4096),
        _jetson("thor", "11.0", 128, 8192),
        _desktop("rtx-30", "8.6", 12),
        _desktop("rtx-40", "8.9", 16),
        _desktop("rtx-50", "12.0", 16),
        _desktop("h100", "9.0", 80, context=8192),
        Target(AUTO, "", None, 4096),
    )
}


def get_target(name: str, device: DeviceInfo | None = None, memory: int | None = None) -> Target:
    """The preset ``name``; "auto" describes ``device``, or stays open where there is none.

    ``memory`` in bytes takes the place of the preset's.

    Raises:
        InputError: an unknown name; the message lists the known ones.
    """
    if name not in TARGETS:
        raise InputError(f"unknown target {name!r}; expected one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    if name == AUTO and device is not None:
        memory_of_device = device_memory(device)
        target = Target(AUTO, device.compute_capability, memory_of_device, target.context, device.integrated)
    if memory is None:
        return target
    preset_memory = target.memory or DeviceMemory(0, GIB, shared=target.jetson)
    resized = DeviceMemory(memory, preset_memory.reserved, preset_memory.shared)
    return Target(target.name, target.compute_capability, resized, target.context, target.jetson)
