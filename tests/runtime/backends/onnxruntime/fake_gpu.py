# ruff: noqa: N802
"""An onnxruntime for GPUs without a GPU: sessions compute on the CPU, on addresses of a stand-in of CUDA.

As the real one: a provider whose libraries are missing is left out of the session without an error, options that are
unknown and graphs that cannot be captured are errors, a captured run is replayed on the addresses that it was captured
with, and a session reads what is in memory when it begins, whatever a stream has still to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart

CUDA_NAME, RTX_NAME = "CUDAExecutionProvider", "NvTensorRTRTXExecutionProvider"
CUDA_OPTIONS = {"device_id", "use_tf32", "arena_extend_strategy", "enable_cuda_graph"}
_SKIP = -1


class Fail(Exception):  # noqa: N818
    """What onnxruntime raises, which is no RuntimeError."""


class FakeOrt:
    """The module ``onnxruntime``, of a build with CUDA.

    ``missing`` are libraries that are not installed; ``uncapturable`` names files whose graphs have nodes on the CPU.
    """

    __version__ = "1.31.1"
    cuda_version = "13.0"

    def __init__(self, cudart: FakeCudart) -> None:
        self.cudart = cudart
        self.missing: Sequence[str] = ()
        self.breaks: str = ""  # what a session says instead of running
        self.uncapturable: set[str] = set()
        self.sessions: list[FakeSession] = []
        self.severities: list[int] = []
        self.providers = [CUDA_NAME, "CPUExecutionProvider"]
        self.plugins: dict[str, str] = {}

    def get_available_providers(self) -> list[str]:
        return self.providers

    def preload_dlls(self) -> None:
        for name in self.missing:
            print(f"Failed to load {name}: {name}: cannot open shared object file: No such file or directory")
        if self.missing:
            print("Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA.")

    def set_default_logger_severity(self, level: int) -> None:
        self.severities.append(level)

    def SessionOptions(self) -> FakeOptions:
        return FakeOptions()

    def RunOptions(self) -> FakeRunOptions:
        return FakeRunOptions()

    def register_execution_provider_library(self, name: str, library: str) -> None:
        if name in self.plugins:
            raise Fail(f"[ONNXRuntimeError] : 1 : FAIL : library is already registered under {name}")
        if self.missing:
            raise Fail(
                f"[ONNXRuntimeError] : 1 : FAIL : Failed to load library {library} with error: {self.missing[0]}"
            )
        self.plugins[name] = library

    def get_ep_devices(self) -> list[Any]:
        plugins = [SimpleNamespace(ep_name=name) for name in self.plugins for _ in range(self.cudart.devices)]
        return [SimpleNamespace(ep_name="CPUExecutionProvider"), *plugins]

    def InferenceSession(
        self,
        model: str | bytes,
        options: FakeOptions,
        providers: Sequence[Any] = (),
        disabled_optimizers: Sequence[str] = (),
        enable_fallback: int = 1,
    ) -> FakeSession:
        assert not enable_fallback, "an error would make a session on the CPU, and say so in print"
        assert "ReluQuantRewrite" in disabled_optimizers, "it drops what stands before codes of FP8"
        chosen = [name if isinstance(name, str) else name[0] for name in providers] or options.chosen
        settings: Mapping[str, str] = dict(providers[0][1]) if providers else {}
        if unknown := set(settings) - CUDA_OPTIONS:
            raise Fail(f"Unknown provider option: {unknown}")
        if settings.get("enable_cuda_graph") == "1" and str(model).rpartition("/")[2] in self.uncapturable:
            raise Fail("This session cannot use the graph capture feature as requested by the user")
        if self.missing:
            chosen = ["CPUExecutionProvider"]
        session = FakeSession(self, model, chosen, settings, options.entries)
        self.sessions.append(session)
        return session


class FakeOptions:
    """A ``SessionOptions``."""

    def __init__(self) -> None:
        self.chosen: list[str] = []
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    def add_provider_for_devices(self, devices: Sequence[Any], options: Mapping[str, str]) -> None:
        if not devices:
            raise Fail("Must provide one or more OrtEpDevice instances.")
        self.chosen = [devices[0].ep_name, "CPUExecutionProvider"]


class FakeRunOptions:
    """A ``RunOptions``."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class FakeSession:
    """An ``InferenceSession``. ``runs`` lists what each run was: run, capture or replay."""

    def __init__(
        self,
        ort: FakeOrt,
        model: str | bytes,
        providers: list[str],
        settings: Mapping[str, str],
        entries: Mapping[str, str],
    ) -> None:
        self.ort, self.providers, self.settings, self.entries = ort, providers, settings, entries
        self.fallback = True
        self.runs: list[str] = []
        self.bound: list[FakeBinding] = []
        real = onnxruntime.SessionOptions()
        for name, value in entries.items():
            real.add_session_config_entry(name, value)
        self._session = onnxruntime.InferenceSession(model, real, providers=["CPUExecutionProvider"])
        self._warm: set[int] = set()
        self._captured: dict[int, FakeBinding] = {}

    def get_providers(self) -> list[str]:
        return self.providers

    def disable_fallback(self) -> None:
        self.fallback = False

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def run(self, names: None, feed: Mapping[str, Any]) -> Any:
        if self.ort.breaks:
            raise Fail(self.ort.breaks)
        return self._session.run(names, dict(feed))

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self)

    def run_with_iobinding(self, binding: FakeBinding, options: FakeRunOptions | None = None) -> None:
        assert not self.fallback, "an error of a run would make a session on the CPU"
        if self.ort.breaks:
            raise Fail(self.ort.breaks)
        self._check_order()
        self.bound.append(binding)
        number = int((options.entries if options else {}).get("gpu_graph_id", "0"))
        if self.settings.get("enable_cuda_graph") != "1" or number == _SKIP:
            self.runs.append("run")
        elif number in self._captured:
            self.runs.append("replay")
            binding = self._captured[number]
        elif number in self._warm:
            self.runs.append("capture")
            self._captured[number] = binding
        else:
            self.runs.append("run")
            self._warm.add(number)
        binding.run(self._session)

    def _check_order(self) -> None:
        calls = self.ort.cudart.calls
        behind = calls[len(calls) - calls[::-1].index("cudaStreamSynchronize") :]
        assert not [name for name in behind if "Mem" in name and "Async" in name], "a transfer is still under way"


class FakeBinding:
    """An ``IOBinding`` to addresses of the GPU."""

    def __init__(self, session: FakeSession) -> None:
        self._session = session
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, tuple[Any, ...]] = {}

    def _bind(self, name: str, device: str, index: int, kind: Any, shape: tuple[int, ...], address: int) -> Any:
        cudart = self._session.ort.cudart
        assert (device, index) == ("cuda", cudart.current), "the provider's device is another"
        assert address, f"{name} has no address"
        cudart.check(address, max(1, int(np.prod(shape)) * np.dtype(kind).itemsize))
        return kind, tuple(shape), address

    def bind_input(self, name: str, *where: Any) -> None:
        self.inputs[name] = self._bind(name, *where)

    def bind_output(self, name: str, *where: Any) -> None:
        self.outputs[name] = self._bind(name, *where)

    def run(self, session: Any) -> None:
        binding = session.io_binding()
        for name, where in self.inputs.items():
            binding.bind_input(name, "cpu", 0, *where)
        for name, where in self.outputs.items():
            binding.bind_output(name, "cpu", 0, *where)
        session.run_with_iobinding(binding)
