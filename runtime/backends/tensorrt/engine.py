"""Engines and their contexts: what differs between TensorRT's versions and flavours stands here and nowhere else."""

from __future__ import annotations

import importlib
import logging
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xsam_edge.runtime.backends.tensorrt.kernels import KernelCache
from xsam_edge.runtime.backends.tensorrt.plan import is_capturable
from xsam_edge.runtime.bundle.dtypes import FP8
from xsam_edge.runtime.bundle.engine_info import MODULES, EngineProfile, Flavour
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError

_log = logging.getLogger(__name__)

# TensorRT's names of element types.
_TYPE_NAMES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT64": "int64",
    "UINT8": "uint8",
    "INT8": "int8",
    "FP8": FP8,
}


class Library:
    """One flavour of TensorRT: deserialises engines and makes contexts. Needs a CUDA device: ask for one first."""

    def __init__(self, flavour: Flavour, trt: Any = None, kernels: KernelCache | None = None) -> None:
        self.flavour = flavour
        self._kernels = kernels
        self._asked: set[tuple[str, str]] = set()  # graph and profile of which it is known whether they are captured
        self._trt = trt or importlib.import_module(MODULES[flavour])
        self._log = _make_log(self._trt)
        self._runtime = self._trt.Runtime(self._log)

    def deserialise(self, path: Path, spec: GraphSpec, profiles: int) -> Any:
        """The engine of a file whose hash was checked.

        The file is mapped, not read: where host and GPU share their memory, it would lie there twice.

        Raises:
            BackendError: TensorRT refuses it, or it is not the engine that the manifest describes.
        """
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                engine = self._runtime.deserialize_cuda_engine(content)
        except (OSError, ValueError) as error:
            raise BackendError(f"{path} cannot be read ({error}); build the engines again") from None
        if engine is None:
            raise BackendError(f"{path} cannot be loaded by {self.flavour}: {self.take_errors()}")
        self._check(engine, path, spec, profiles)
        return engine

    def context(
        self, engine: Any, spec: GraphSpec, profiles: Sequence[EngineProfile], profile: int, stream: Any
    ) -> Any:
        """A context that stays at one profile and uses the activation memory that it is given."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.flavour == "tensorrt-rtx":
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # A general kernel runs until the one for a shape is compiled, in the background.
            lazy = self._trt.DynamicShapesKernelSpecializationStrategy.LAZY
            config.dynamic_shapes_kernel_specialization_strategy = lazy
            if is_capturable(spec, profiles[profile]):
                config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            if self._kernels is not None:
                self._kernels.attach(config)
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise BackendError(f"{spec.file} gets no execution context: {self.take_errors()}")
        if profile:
            self._choose_profile(context, spec, profile, stream)
        return context

    def _choose_profile(self, context: Any, spec: GraphSpec, profile: int, stream: Any) -> None:
        try:
            done = context.set_optimization_profile_async(profile, int(stream))
        except RuntimeError as error:  # what the Python bindings make of a failure
            done, reason = False, " ".join(str(error).split())[:200]
        else:
            reason = "it is refused"
        if not done:
            raise BackendError(f"profile {profile} of {spec.file} cannot be chosen ({reason}): {self.take_errors()}")

    def captures(self, spec: GraphSpec, profile: EngineProfile) -> bool:
        """Whether the caller should capture a graph's runs in a profile. TensorRT-RTX does it by itself."""
        return self.flavour == "tensorrt" and is_capturable(spec, profile)

    def after_run(self, context: Any, spec: GraphSpec, profile: EngineProfile, stream: Any) -> None:
        """To be called when a run is done, with its context: keeps kernels, and logs what TensorRT-RTX cannot capture.

        That is asked for behind a run, as shapes are set by then.
        """
        if self.flavour != "tensorrt-rtx":
            return
        if self._kernels is not None:
            self._kernels.ran()
        asked = spec.file, profile.name
        if asked in self._asked or not is_capturable(spec, profile):
            return
        self._asked.add(asked)
        # TensorRT-RTX before 1.2 has no such question, and captures nothing.
        if not (hasattr(context, "is_stream_capturable") and context.is_stream_capturable(int(stream))):
            _log.warning(
                "runs of %s (%s) are not captured: each launches its kernels one by one; build the engines again with "
                "TensorRT-RTX 1.2 or newer",
                *asked,
            )

    def take_errors(self) -> str:
        """TensorRT's errors since this was last asked, one line."""
        errors, self._log.errors = self._log.errors, []
        return " ".join("; ".join(errors).split())[:400] or "it does not say why; run `xsam-doctor`"

    def _check(self, engine: Any, path: Path, spec: GraphSpec, profiles: int) -> None:
        dtypes: dict[str, dict[str, str]] = {"INPUT": {}, "OUTPUT": {}}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype = engine.get_tensor_dtype(name).name
            dtypes[engine.get_tensor_mode(name).name][name] = _TYPE_NAMES.get(dtype, dtype)
            if engine.get_tensor_location(name).name != "DEVICE":
                raise BackendError(f"{path} wants {name} in host memory, which this runtime does not do")
        for kind, tensors in (("INPUT", spec.inputs), ("OUTPUT", spec.outputs)):
            if dtypes[kind] != {tensor.name: tensor.dtype for tensor in tensors}:
                raise BackendError(f"{path} has other {kind.lower()}s than its manifest says; build the engines again")
        if engine.num_optimization_profiles != profiles:
            raise BackendError(
                f"{path} has {engine.num_optimization_profiles} profiles, its manifest says {profiles}; "
                "build the engines again"
            )


def _make_log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]  # its base is only known at run time
        """Keeps the errors; TensorRT returns None or False, and says why here."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                self.errors.append(message)

    return Log()
