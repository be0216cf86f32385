"""ONNX Runtime: the CPU and CUDA execution providers.

Graphs run through I/O binding, on addresses: nothing is copied between the caller's memory and the session's. On a CPU
all sessions of a process share the memory of their activations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.versions import Version, parse, version_of

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# With these a pair of Q and DQ is merged with another's, or a product with its bias, before it can become an integer
# product; without them every quantised linear layer does.
QUANTIZED_DISABLED = ("MatMulAddFusion", "CommonSubexpressionElimination")
# Its kernel takes four times as long as an addition and a normalisation do apart.
_CPU_DISABLED = ("SkipLayerNormFusion",)
_CPU_ENTRIES = {
    # Softmax makes a subnormal of every masked score, and a CPU takes some hundred cycles for each of those.
    "session.set_denormal_as_zero": "1",
    "session.use_env_allocators": "1",
}
# Each graph has threads of its own, which wait for work by spinning, also when it is another graph's turn.
THREAD_ENTRIES = {"session.force_spinning_stop": "1"}
# Of a thousand tokens, two parts take a fifth less time than one, and half the memory; smaller parts gain no more.
_CPU_PREFILL_ROWS = 512
_EMPTY_ARGMAX = Version(1, 32)  # the first whose ArgMax over no rows has the shape that it should
_FP16_QUANTIZE = Version(1, 30)  # the first whose QuantizeLinear rounds float16; those before truncate
# ONNX Runtime's names of element types, as sessions report them.
_TYPE_NAMES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise BackendError(
            "onnxruntime is not installed; run `pip install xsam-edge[cpu]`, or `xsam-edge[gpu]` for CUDA"
        ) from None
    return onnxruntime


@cache
def _share_activations() -> None:
    """Let the sessions of this process draw activations from one pool that grows by what is asked for.

    By default each has a pool of its own, which doubles.
    """
    ort = _import()
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested, default = 1, -1
    settings = {"max_mem": 0, "arena_extend_strategy": as_requested}
    settings |= {"initial_chunk_size_bytes": default, "max_dead_bytes_per_chunk": default}
    with contextlib.suppress(Exception):  # the application registered one, which serves as well
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(settings))


def cpu_disabled(spec: GraphSpec) -> list[str]:
    """Optimisations that a graph on a CPU is better off without."""
    return [*_CPU_DISABLED, *(QUANTIZED_DISABLED if spec.quantized else ())]


def _session_options(device: str, threads: int) -> Any:
    options = _import().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # its warnings are about placement, not about results
    if device == "cpu":
        _share_activations()
        for kind in (np.float16, np.float32, np.float64):
            np.finfo(kind)  # NumPy 1 warns of it where subnormals are zero, unless it knows it by then
        options.enable_mem_pattern = False  # which sets memory aside for every shape that was ever seen
        for name, value in (_CPU_ENTRIES | THREAD_ENTRIES).items():
            options.add_session_config_entry(name, value)
    return options


def one_line(error: Exception) -> str:
    """A library's message, which may be of many lines, cut to what a user can read."""
    return " ".join(str(error).split())[:300]


class OnnxGraph:
    """One inference session."""

    def __init__(self, session: Any, spec: GraphSpec, device: str) -> None:
        self.spec = spec
        self._session = session
        self._device = device

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`."""
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            binding.bind_input(name, self._device, 0, buffer.dtype.type, buffer.shape, buffer.address)
        for name, buffer in outputs.items():
            binding.bind_output(name, self._device, 0, buffer.dtype.type, buffer.shape, buffer.address)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{self.spec.file} failed in ONNX Runtime: {one_line(error)}") from error


class OnnxRuntimeBackend:
    """ONNX Runtime on ``device`` "cpu" or "cuda". ``threads`` = 0 lets it take every core."""

    def __init__(self, device: str = "cpu", threads: int = 0) -> None:
        ort = _import()
        if device not in _PROVIDERS:
            raise BackendError(f"device {device!r} is unknown; choose one of {', '.join(_PROVIDERS)}")
        if (provider := _PROVIDERS[device]) not in ort.get_available_providers():
            raise BackendError(
                f"this onnxruntime {version_of(ort)} has no {provider}; "
                "for a GPU run `pip uninstall onnxruntime && pip install xsam-edge[gpu]`"
            )
        self.name = f"onnxruntime-{device}"
        self.prefill_rows = _CPU_PREFILL_ROWS if device == "cpu" else None
        self.resizes_pixels = device != "cpu"
        self._ort = ort
        self.runs_without_logits = self._is_since(_EMPTY_ARGMAX)
        self._device = device
        self._threads = threads

    def open(self, path: Path, spec: GraphSpec) -> OnnxGraph:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        options = _session_options(self._device, self._threads)
        providers = list(dict.fromkeys([_PROVIDERS[self._device], _PROVIDERS["cpu"]]))
        disabled = cpu_disabled(spec) if self._device == "cpu" else []
        if spec.quantized == "float16":
            self._check_rounding(path)
        try:
            session = self._ort.InferenceSession(str(path), options, providers=providers, disabled_optimizers=disabled)
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{path} cannot be loaded by ONNX Runtime: {one_line(error)}") from error
        for kind, of_session, of_manifest in (
            ("inputs", session.get_inputs(), spec.inputs),
            ("outputs", session.get_outputs(), spec.outputs),
        ):
            types = {tensor.name: _TYPE_NAMES.get(tensor.type, tensor.type) for tensor in of_session}
            if types != {tensor.name: tensor.dtype for tensor in of_manifest}:
                raise BackendError(f"{path} has other {kind} than its manifest says; export the bundle again")
        return OnnxGraph(session, spec, self._device)

    def _is_since(self, release: Version) -> bool:
        """Whether this is a release or a later one; what cannot be read is taken for an older one."""
        version = parse(version_of(self._ort))
        return version is not None and version >= release

    def _check_rounding(self, path: Path) -> None:
        if self._device == "cpu" and not self._is_since(_FP16_QUANTIZE):
            raise BackendError(
                f"{path} quantises float16 activations, which onnxruntime before 1.30 rounds wrongly, and this one is "
                f"{version_of(self._ort)}; install onnxruntime 1.30 or newer, or export with --float-precision fp32"
            )

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        dtype = np.dtype(dtype)
        if self._device == "cpu":
            return self.upload(np.empty(shape, dtype))
        value = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, self._device, 0)
        return Buffer(value.data_ptr(), shape, dtype, value)

    def upload(self, array: Array) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        array = np.ascontiguousarray(array)
        if self._device == "cpu":
            return Buffer(array.ctypes.data, array.shape, array.dtype, array)
        value = self._ort.OrtValue.ortvalue_from_numpy(array, self._device, 0)
        return Buffer(value.data_ptr(), array.shape, array.dtype, value)

    def download(self, buffer: Buffer) -> Array:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        owner: Any = buffer.owner
        array: Array = owner if self._device == "cpu" else owner.numpy()
        if array.shape != buffer.shape:
            raise ValueError(f"a view of shape {buffer.shape} of {array.shape} cannot be downloaded")
        return array
