"""Whether the engines of a bundle can run here, told before one of them is touched.

Deserialising an engine runs native code: a wrong version is refused late and with a message of its own, a machine
without a GPU may crash. So the library, the GPU and the bundle are compared first.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from xsam_edge.runtime.backends.tensorrt.kernels import kernel_file
from xsam_edge.runtime.bundle.engine_info import MODULES, EngineInfo
from xsam_edge.runtime.bundle.manifest import Manifest
from xsam_edge.runtime.device.cuda_device import DeviceInfo, find_device
from xsam_edge.runtime.errors import BackendError, EngineDeviceError, EngineVersionError, NoDeviceError

# Numbers of a version that have to agree: an engine is bound to the library's release, not to its build.
_RELEASE = 3


@dataclass(frozen=True)
class Environment:
    """What a machine offers: version of each flavour that imports, and its GPU.

    ``problems`` says of a flavour why it does not import, and of "device" why there is none.
    """

    versions: Mapping[str, str]
    device: DeviceInfo | None
    problems: Mapping[str, str] = field(default_factory=dict)


def find_environment(*flavours: str) -> Environment:
    """Look for ``flavours`` (default: all) and for a CUDA device. Imports libraries, loads no engine."""
    versions, problems = {}, {}
    for flavour in flavours or tuple(MODULES):
        try:
            versions[flavour] = library_version(flavour)
        except BackendError as error:
            problems[flavour] = str(error)
    device = None
    try:
        device = find_device()
    except NoDeviceError as error:
        problems["device"] = str(error)
    return Environment(versions, device, problems)


def library_version(flavour: str) -> str:
    """Version of an installed flavour.

    Raises:
        BackendError: it is not installed, or its libraries are not.
    """
    try:
        return str(importlib.import_module(MODULES[flavour]).__version__)
    except ModuleNotFoundError:
        raise BackendError(f"{flavour} is not installed; {install_command(flavour)}") from None
    except Exception as error:  # its libraries are loaded at import, and raise what they like
        reason = " ".join(str(error).split())[:200]
        raise BackendError(f"{flavour} does not load ({reason}); {install_command(flavour)}") from error


def check_engine(manifest: Manifest, environment: Environment) -> None:
    """Check that the engines of a bundle can run here: flavour and version, compute capability, a device at all.

    The caller has checked the hashes of the bundle's files. Bundles of ONNX graphs pass.

    Raises:
        EngineVersionError: the library is not installed, or is another release than built the engines.
        EngineDeviceError: the GPU is none that the engines were built for.
        NoDeviceError: there is no CUDA device.
    """
    engine = manifest.engine
    if engine is None:
        return
    version = environment.versions.get(engine.flavour)
    if version is None:
        problem = environment.problems.get(engine.flavour)
        raise EngineVersionError(
            f"the engines need {engine.flavour} {engine.version}; "
            + (problem or f"it is not installed; {install_command(engine.flavour, engine.version)}")
        )
    if release(version) != release(engine.version):
        raise EngineVersionError(
            f"the engines were built by {engine.flavour} {engine.version}, installed is {version}; "
            f"build them again with {rebuild_command(engine)}, "
            f"or {install_command(engine.flavour, engine.version)}"
        )
    device = environment.device
    if device is not None and device.compute_capability not in engine.compute_capabilities:
        raise EngineDeviceError(
            f"the engines were built for compute capability {', '.join(engine.compute_capabilities)}, "
            f"{device.name} has {device.compute_capability}; build them on this machine with {rebuild_command(engine)}"
        )
    if device is None:
        problem = environment.problems.get("device") or "no CUDA device; check `nvidia-smi`"
        raise NoDeviceError(f"engines need a GPU, a bundle of ONNX graphs would run on a CPU: {problem}")


def kernel_path(bundle: Path, manifest: Manifest, gpu: DeviceInfo) -> Path | None:
    """The file that keeps what TensorRT-RTX compiles of a bundle on a GPU; None for what compiles nothing there."""
    engine = manifest.engine
    if engine is None or engine.flavour != "tensorrt-rtx":
        return None
    # Of what was checked: kernels are code, and a bundle must not get at those of another one by claiming to be it.
    identity = sha256("".join(sorted(entry.identity for entry in manifest.files.values())).encode()).hexdigest()
    parts = {"version": engine.version, "gpu": f"{gpu.name} {gpu.compute_capability}", "driver": gpu.driver}
    return kernel_file(bundle, identity, parts)


def release(version: str) -> tuple[str, ...]:
    """The part of a version that an engine is bound to: "10.3.0.26" and "10.3.0" are one release."""
    return tuple(version.split("+")[0].split(".")[:_RELEASE])


def install_command(flavour: str, version: str = "") -> str:
    """What installs a flavour, as a clause of a message."""
    if flavour == "tensorrt-rtx":
        return f"run `pip install tensorrt-rtx=={version}`" if version else "run `pip install xsam-edge[tensorrt-rtx]`"
    wanted = f"TensorRT {'.'.join(release(version))}" if version else "TensorRT"
    return f"install {wanted}: on a Jetson `sudo apt install nvidia-jetpack`, elsewhere `pip install tensorrt`"


def rebuild_command(engine: EngineInfo) -> str:
    """The command that compiles the engines again for the machine it runs on."""
    return f"`xsam-export --from ONNX_BUNDLE --engine {engine.flavour} --target auto -o BUNDLE`"
