"""What compiles engines: the library that is installed, and the device that it compiles for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from xsam_edge.export.engines import flavours
from xsam_edge.export.engines.targets import Target, get_target
from xsam_edge.runtime.bundle.engine_info import Flavour
from xsam_edge.runtime.device.compatibility import library_version
from xsam_edge.runtime.device.cuda_device import DeviceInfo, find_device
from xsam_edge.runtime.errors import NoDeviceError


@dataclass(frozen=True)
class Destination:
    """A target, the GPU of this machine (None without one), and what engines of a flavour are compiled for."""

    target: Target
    device: DeviceInfo | None
    compute_capabilities: tuple[str, ...]  # none where no flavour is chosen

    def having(self, codes: Collection[str]) -> Destination:
        """The same for engines with these codes of quantised products.

        Raises:
            InputError: the target has no products of them.
        """
        own = (self.target.compute_capability,) if self.target.compute_capability else ()
        flavours.capable(own, codes, self.target.name)
        able = flavours.capable(self.compute_capabilities, codes, self.target.name)
        return replace(self, compute_capabilities=able)


@dataclass(frozen=True)
class Builder:
    """A library and where its engines are to run: checked before there is a bundle to compile."""

    flavour: Flavour
    version: str
    destination: Destination
    optimization_level: int | None


def find_destination(flavour: Flavour | None, target: str, memory: int | None, *, planned: bool = False) -> Destination:
    """Resolve a target's name. ``memory`` in bytes takes the place of the target's.

    What is only ``planned`` needs no GPU, where a build of TensorRT takes place on the one that it builds for.

    Raises:
        InputError: an unknown target, or one that the flavour is not for.
        BackendError: TensorRT without a GPU or on another than the target's.
    """
    try:
        device = find_device()
    except NoDeviceError:
        device = None
    resolved = get_target(target, device, memory)
    if flavour is None or (planned and flavour == "tensorrt"):
        return Destination(resolved, device, ())
    return Destination(resolved, device, flavours.compute_capabilities(flavour, resolved, device))


def find_builder(flavour: Flavour, destination: Destination, optimization_level: int | None) -> Builder:
    """Find the library of a flavour.

    Raises:
        BackendError: it is missing or too old.
    """
    version = library_version(flavour)
    flavours.check_version(flavour, version)
    return Builder(flavour, version, destination, optimization_level)
