"""ONNX Runtime on the CPU.

Graphs run through I/O binding, on addresses: nothing is copied between the caller's memory and the session's. All
sessions of a process share the memory of their activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.backends.base import Array, Buffer
from xsam_edge.runtime.backends.onnxruntime.library import import_library, is_since, one_line, runs_without_logits
from xsam_edge.runtime.backends.onnxruntime.linked import find_model
from xsam_edge.runtime.backends.onnxruntime.session import (
    CPU,
    check_types,
    cpu_disabled,
    cpu_options,
    numbered_types,
    release_heap,
    thread_count,
)
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.versions import Version, version_of

# Of a thousand tokens, two parts take a fifth less time than one, and half the memory; smaller parts gain no more.
_PREFILL_ROWS = 512
_FP16_QUANTIZE = Version(1, 30)  # the first whose QuantizeLinear rounds float16; those before truncate


class OnnxGraph:
    """One inference session."""

    def __init__(self, session: Any, spec: GraphSpec) -> None:
        self.spec = spec
        self._session, self._numbered = session, numbered_types(spec)

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`."""
        binding, numbered = self._session.io_binding(), self._numbered
        for name, buffer in inputs.items():
            kind = numbered.get(name, buffer.dtype.type)
            binding.bind_input(name, "cpu", 0, kind, buffer.shape, buffer.address)
        for name, buffer in outputs.items():
            kind = numbered.get(name, buffer.dtype.type)
            binding.bind_output(name, "cpu", 0, kind, buffer.shape, buffer.address)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{self.spec.file} failed in ONNX Runtime: {one_line(error)}") from error


class OnnxRuntimeBackend:
    """ONNX Runtime on ``device`` "cpu"; ``threads`` = 0 lets it take every core. Others: :func:`open_device`.

    Raises:
        InputError: more than four threads for each logical core.
        BackendError: ONNX Runtime is not installed or too old.
    """

    prefill_rows: int | None = _PREFILL_ROWS
    resizes_pixels = False

    def __init__(self, device: str = "cpu", threads: int = 0) -> None:
        if device != "cpu":
            raise ValueError(f"device {device!r} is opened by open_device")
        self.name = f"onnxruntime-{device}"
        self._ort = import_library()
        self.runs_without_logits = runs_without_logits(self._ort)
        self._threads = thread_count(threads)

    def open(self, path: Path, spec: GraphSpec) -> OnnxGraph:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        if spec.quantized == "float16":
            self._check_rounding(path)
        model = find_model(self._ort, path)
        options, disabled = cpu_options(self._threads), cpu_disabled(spec)
        model.configure(options)
        try:
            session = self._ort.InferenceSession(model.content, options, providers=[CPU], disabled_optimizers=disabled)
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{path} cannot be loaded by ONNX Runtime: {one_line(error)}") from error
        release_heap()
        check_types(session, path, spec)
        return OnnxGraph(session, spec)

    def _check_rounding(self, path: Path) -> None:
        if not is_since(self._ort, _FP16_QUANTIZE):
            raise BackendError(
                f"{path} quantises float16 activations, which onnxruntime before 1.30 rounds wrongly, and this one is "
                f"{version_of(self._ort)}; install onnxruntime 1.30 or newer, or export with --float-precision fp32"
            )

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        return self.upload(np.empty(shape, dtype))

    def upload(self, array: Array) -> Buffer:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        array = np.ascontiguousarray(array)
        return Buffer(array.ctypes.data, array.shape, array.dtype, array)

    def download(self, buffer: Buffer) -> Array:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        array: Any = buffer.owner
        if array.shape != buffer.shape:
            raise ValueError(f"a view of shape {buffer.shape} of {array.shape} cannot be downloaded")
        whole: Array = array
        return whole
