"""Python, its packages, and the libraries of the GPU, each asked in a process of its own: some crash."""

from __future__ import annotations

import platform
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from xsam_edge.runtime.bundle.engine_info import MODULES
from xsam_edge.runtime.bundle.typed_json import from_json, parse_json
from xsam_edge.runtime.device.compatibility import Environment, install_command
from xsam_edge.runtime.device.cuda_device import DeviceInfo, driver_version
from xsam_edge.runtime.doctor.host import Fact, Host, Section
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.units import size
from xsam_edge.runtime.versions import loaded, untested

_PACKAGES = (
    "xsam-edge", "numpy", "pillow", "tokenizers", "onnxruntime", "onnxruntime-gpu", "cuda-bindings", "cuda-python",
    "tensorrt", "tensorrt-rtx", "polygraphy", "onnx", "torch",
)  # fmt: skip

_IMPORT = "import json, {module} as m; print(json.dumps(str(getattr(m, '__version__', 'unknown'))))"
_DEVICE = """
import dataclasses, json
from xsam_edge.runtime.device.cuda_device import find_device
from xsam_edge.runtime.errors import NoDeviceError
try:
    print(json.dumps(dataclasses.asdict(find_device())))
except NoDeviceError as error:
    print(json.dumps(str(error)))
"""
_CUDART = """
import json
from xsam_edge.runtime.backends.cuda.calls import Cuda, import_cudart
from xsam_edge.runtime.errors import BackendError
try:
    print(json.dumps(Cuda(import_cudart()).device_count()))
except BackendError as error:
    print(json.dumps(str(error)))
"""
_GPU_PROVIDERS = {"cuda": "CUDA provider", "tensorrt-rtx": "TensorRT-RTX provider"}
_PROVIDERS = """
import json, onnxruntime as m
print(json.dumps([str(getattr(m, "__version__", "unknown")), m.get_available_providers()]))
"""
_PROBLEMS = """
import json, onnxruntime
from xsam_edge.runtime.backends.onnxruntime.providers import problems
print(json.dumps(problems(onnxruntime)))
"""


@dataclass(frozen=True)
class _Version:
    extra_keys: ClassVar[bool] = True

    version: str


@dataclass(frozen=True)
class _Toolkit:
    extra_keys: ClassVar[bool] = True

    cuda: _Version


def ask_python(host: Host, program: str, kind: Any = object) -> tuple[Any, str]:
    """Run a program that prints a ``kind`` as one line of JSON last; returns it, or None and why there is none."""
    done = host.run([sys.executable, "-c", program])
    if done.code == 0 and done.out.strip():
        try:
            return from_json(kind, parse_json(done.out.strip().splitlines()[-1], "its answer"), "its answer"), ""
        except InputError:
            return None, "printed what is no answer"
    if done.code is not None and done.code < 0:
        return None, f"crashed ({_signal_name(-done.code)})"
    lines = (done.err or "no output").strip().splitlines()
    return None, lines[-1][:200] if lines else "no output"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def python(host: Host) -> Section:
    """The interpreter and the packages that matter here."""
    versions = {name: _version(name) for name in _PACKAGES}
    installed = {name: version for name, version in versions.items() if version}
    both = "onnxruntime" in installed and "onnxruntime-gpu" in installed
    note = "onnxruntime and onnxruntime-gpu hide each other: uninstall both, install one" if both else ""
    used = dict(loaded())
    interpreter = _joined(sys.executable, untested("python", used.pop("python")))
    return Section(
        "python",
        (
            Fact("Python", platform.python_version(), interpreter),
            *(Fact(package, version, untested(package, version)) for package, version in used.items()),
            Fact("packages", installed, note),
        ),
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpu(host: Host) -> tuple[Section, Environment]:
    """The GPU, its driver, TensorRT's flavours and cuda-python."""
    device, problems = _device(host)
    facts = [Fact("GPU", device.name if device else None, problems.get("device", ""))]
    if device:
        shared = "shared with the CPU" if device.integrated else ""
        facts += [
            Fact("compute capability", device.compute_capability),
            Fact("GPU memory", device.memory, shared),
            Fact("driver", device.driver or None),
            Fact("CUDA of the driver", device.cuda),
        ]
    else:
        facts.append(Fact("driver", driver_version(host.root / "proc/driver/nvidia/version") or None))
    toolkit = host.read("/usr/local/cuda/version.json")
    facts.append(
        Fact("CUDA toolkit", _toolkit(toolkit), "" if toolkit else "/usr/local/cuda is absent; engines need none")
    )
    versions: dict[str, str] = {}
    for flavour, module in MODULES.items():
        version, reason = ask_python(host, _IMPORT.format(module=module), str)
        if version is None:
            missing = "No module named" in reason
            problems[flavour] = f"{'not installed' if missing else reason}; {install_command(flavour)}"
            facts.append(Fact(flavour, None, problems[flavour]))
        else:
            versions[flavour] = version
            note = "usable" if device else "imports, but there is no GPU to run engines on"
            facts.append(Fact(flavour, version, _joined(note, untested(flavour, version))))
    devices, reason = ask_python(host, _CUDART, int | str)
    usable = isinstance(devices, int) and devices > 0
    facts.append(Fact("cuda-python", "usable" if usable else None, "" if usable else str(devices or reason)))
    return Section("gpu", tuple(facts)), Environment(versions, device, problems)


def _device(host: Host) -> tuple[DeviceInfo | None, dict[str, str]]:
    device, reason = ask_python(host, _DEVICE, DeviceInfo | str)
    if isinstance(device, DeviceInfo):
        return device, {}
    return None, {"device": device if isinstance(device, str) else f"asking the driver failed: {reason}"}


def _toolkit(text: str | None) -> str | None:
    try:
        return from_json(_Toolkit, parse_json(text or "", "version.json"), "version.json").cuda.version
    except InputError:
        return None


@dataclass(frozen=True)
class OnnxRuntime:
    """What of ONNX Runtime is there: providers that it was built with, and by GPU device why it cannot be used, if so.

    ``problems`` is empty where that could not be found out.
    """

    providers: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def onnxruntime(host: Host) -> tuple[Section, OnnxRuntime]:
    """ONNX Runtime, its execution providers, and whether those of GPUs work: each is tried."""
    answer, reason = ask_python(host, _PROVIDERS, tuple[str, tuple[str, ...]])
    if answer is None:
        missing = "No module named" in reason
        note = ("not installed" if missing else reason) + "; run `pip install xsam-edge[cpu]`, or `xsam-edge[gpu]`"
        return Section("onnxruntime", (Fact("ONNX Runtime", None, note),)), OnnxRuntime()
    installed, providers = answer
    found, reason = ask_python(host, _PROBLEMS, dict[str, str])
    facts = [Fact("ONNX Runtime", installed, untested("onnxruntime", installed)), Fact("providers", list(providers))]
    for device, name in _GPU_PROVIDERS.items():
        note = reason if found is None else found[device]
        facts.append(Fact(name, None if note else "usable", note))
    return Section("onnxruntime", tuple(facts)), OnnxRuntime(providers, found or {})


def show(name: str, value: Any) -> str:
    """A fact's value as text; sizes in bytes are those whose name says so."""
    if value is None:
        return "none"
    if isinstance(value, int) and name in ("GPU memory", "memory", "available", "swap", "swap in use"):
        return size(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)
