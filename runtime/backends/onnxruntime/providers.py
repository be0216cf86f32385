"""ONNX Runtime's execution providers of NVIDIA GPUs: whether one is usable, if not why, and sessions on it.

A provider whose libraries are missing makes ONNX Runtime run on the CPU and say so in its log alone. So a session of
one node is made first, and every session is asked which provider it has.
"""

from __future__ import annotations

import importlib
import io
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from xsam_edge.runtime.backends.cuda.driver import DriverApi
from xsam_edge.runtime.backends.onnxruntime.library import quiet, reason
from xsam_edge.runtime.backends.onnxruntime.linked import Model
from xsam_edge.runtime.backends.onnxruntime.session import CPU, WRONG_OPTIMIZERS, gpu_options
from xsam_edge.runtime.errors import BackendError, NoDeviceError
from xsam_edge.runtime.versions import version_of

# One convolution of a float, as ONNX: what needs cuDNN, which is loaded when a kernel asks for it.
_SMALLEST_MODEL = (
    b'\x08\x08:c\n\x0f\n\x01x\n\x01w\x12\x01y"\x04Conv\x12\x01g*\x13\x08\x01\x08\x01\x08\x01\x08\x01\x10\x01"\x04'
    b"\x00\x00\x80?B\x01wZ\x1b\n\x01x\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02"
    b"\x08\x01b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01B"
    b"\x04\n\x00\x10\r"
)
_MISSING = re.compile(r"Failed to load ([^\s:]+):")
_LIBRARIES = "run `pip install 'onnxruntime-gpu[cuda,cudnn]'`, or install CUDA and cuDNN"


class Provider(Protocol):
    """An execution provider of GPUs."""

    @property
    def device(self) -> str:
        """Its name as an option."""

    @property
    def name(self) -> str:
        """ONNX Runtime's name."""

    @property
    def captures(self) -> bool:
        """Whether sessions may capture runs as CUDA graphs."""

    def check(self, ort: Any, driver: DriverApi | None = None) -> DriverApi:
        """Check that sessions will run on it; returns the driver's library, in whose place ``driver`` may stand.

        Raises:
            BackendError: what is missing, and what to do.
            NoDeviceError: no driver, no GPU, or a driver that is too old.
        """

    def session(self, ort: Any, model: Model, index: int, *, capture: bool = False) -> Any:
        """A session on the GPU ``index``.

        Raises:
            BackendError: it would run on the CPU.
            Exception: what ONNX Runtime raises, whose types share no base.
        """


@dataclass(frozen=True)
class CudaProvider:
    """The CUDA provider, which a build of ONNX Runtime has or has not."""

    device: str = "cuda"
    name: str = "CUDAExecutionProvider"
    captures: bool = True

    def check(self, ort: Any, driver: DriverApi | None = None) -> DriverApi:
        """See :class:`Provider`."""
        if self.name not in ort.get_available_providers():
            raise BackendError(
                f"this onnxruntime {version_of(ort)} has no {self.name}; "
                "for a GPU run `pip uninstall onnxruntime && pip install xsam-edge[gpu]`"
            )
        driver = driver or DriverApi()
        check_driver(driver, ort)
        missing = preload(ort)
        try:
            with quiet(ort):
                self.session(ort, Model(_SMALLEST_MODEL), 0).run(None, {"x": np.ones((1, 1, 1, 1), np.float32)})
        except Exception as error:  # its exception types share no base
            why = f"{', '.join(missing)} cannot be loaded" if missing else reason(error)
            raise BackendError(f"onnxruntime {version_of(ort)} cannot use CUDA: {why}; {_LIBRARIES}") from error
        return driver

    def session(self, ort: Any, model: Model, index: int, *, capture: bool = False) -> Any:
        """See :class:`Provider`."""
        return self.session_with(ort, model, gpu_options(ort), index, capture=capture)

    def session_with(self, ort: Any, model: Model, options: Any, index: int = 0, *, capture: bool = False) -> Any:
        """A session with ``SessionOptions`` of its own; raises as :meth:`session`."""
        providers = [(self.name, cuda_options(index, capture=capture)), CPU]
        model.configure(options)
        with quiet(ort):
            session = ort.InferenceSession(
                model.content,
                options,
                providers=providers,
                disabled_optimizers=list(WRONG_OPTIMIZERS),
                enable_fallback=0,
            )
        return _checked(session, self.name)


@dataclass(frozen=True)
class RtxProvider:
    """TensorRT-RTX as a plugin: a package of its own, registered in the process."""

    device: str = "tensorrt-rtx"
    name: str = "NvTensorRTRTXExecutionProvider"
    captures: bool = False  # it does by itself what it can

    def check(self, ort: Any, driver: DriverApi | None = None) -> DriverApi:
        """See :class:`Provider`."""
        if not hasattr(ort, "register_execution_provider_library"):
            raise BackendError(
                f"onnxruntime {version_of(ort)} takes no plugins, 1.24 and newer do; with Python 3.11 or newer run "
                "`pip install --upgrade xsam-edge[onnxruntime-rtx]`"
            )
        try:
            plugin = importlib.import_module("onnxruntime_ep_nv_tensorrt_rtx")
        except ImportError:
            raise BackendError(
                "onnxruntime-ep-nv-tensorrt-rtx is not installed; run `pip install xsam-edge[onnxruntime-rtx]`"
            ) from None
        driver = driver or DriverApi()
        check_driver(driver)
        try:
            with quiet(ort):
                _register(ort, self.name, plugin.get_library_path())
        except Exception as error:  # its exception types share no base
            raise BackendError(
                f"onnxruntime-ep-nv-tensorrt-rtx does not load: {reason(error)}; check `nvidia-smi`, and that the "
                "package is the one for the driver's CUDA (`xsam-doctor` prints it)"
            ) from error
        if not self._devices(ort):
            raise NoDeviceError("TensorRT-RTX sees no GPU that it can use; it takes GeForce RTX 20 and newer")
        return driver

    def session(self, ort: Any, model: Model, index: int, *, capture: bool = False) -> Any:
        """See :class:`Provider`."""
        options = gpu_options(ort)
        options.add_provider_for_devices([self._devices(ort)[index]], {})
        model.configure(options)
        with quiet(ort):
            session = ort.InferenceSession(
                model.content, options, disabled_optimizers=list(WRONG_OPTIMIZERS), enable_fallback=0
            )
        return _checked(session, self.name)

    def _devices(self, ort: Any) -> list[Any]:
        return [device for device in ort.get_ep_devices() if device.ep_name == self.name]


CUDA = CudaProvider()
TENSORRT_RTX = RtxProvider()


def cuda_options(index: int, *, capture: bool = False) -> dict[str, str]:
    """Options of the CUDA provider on the GPU ``index``."""
    return {
        "device_id": str(index),
        # Engines clear it too: what a bundle keeps in FP32 is there because it needs FP32's mantissa.
        "use_tf32": "0",
        # By default memory grows by powers of two: a session that needs 5 GB would take 8.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if capture else "0",
    }


def _checked(session: Any, provider: str) -> Any:
    if (found := session.get_providers())[:1] != [provider]:
        raise BackendError(f"it runs on {', '.join(found)} in place of {provider}")
    session.disable_fallback()
    return session


def check_driver(driver: DriverApi, ort: Any = None) -> None:
    """Raise NoDeviceError unless there is a GPU whose driver runs the CUDA that ``ort`` was built for."""
    code, count = driver.cudaGetDeviceCount()
    if code or not count:
        name = driver.cudaGetErrorName(code)[1] if code else b"none is visible"
        reason = name.decode() if isinstance(name, bytes) else f"error {code}"
        raise NoDeviceError(f"the NVIDIA driver gives no GPU ({reason}); check `nvidia-smi` and CUDA_VISIBLE_DEVICES")
    built = re.match(r"\d+", str(getattr(ort, "cuda_version", "") or ""))
    _, runs = driver.cudaDriverGetVersion()
    if built and runs // 1000 < int(built[0]):
        raise NoDeviceError(
            f"the NVIDIA driver is too old: it runs CUDA {runs // 1000}.{runs % 1000 // 10}, this onnxruntime "
            f"{version_of(ort)} was built for CUDA {ort.cuda_version}; update the driver, or install a build of "
            f"onnxruntime-gpu for CUDA {runs // 1000}"
        )


def preload(ort: Any) -> list[str]:
    """Load CUDA's libraries from the packages of pip, where ONNX Runtime can; returns those that are missing.

    It prints them, from 1.21 on; before there is nothing to preload, and the system's libraries are found or not.
    """
    if not hasattr(ort, "preload_dlls"):
        return []
    said = io.StringIO()
    with redirect_stdout(said):
        ort.preload_dlls()
    return _MISSING.findall(said.getvalue())


@cache
def _register(ort: Any, name: str, library: str) -> None:
    """Once in a process: a second registration is refused."""
    ort.register_execution_provider_library(name, library)


def problems(ort: Any) -> dict[str, str]:
    """By device, why it cannot be used, "" where it can."""
    found = {}
    for provider in (CUDA, TENSORRT_RTX):
        try:
            provider.check(ort)
        except BackendError as error:
            found[provider.device] = str(error)
        else:
            found[provider.device] = ""
    return found
