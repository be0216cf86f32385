"""A backend of the runtime whose graphs are edited in memory when they are opened, and may have outputs of their own.

Because it is a backend, what runs is the real chain: the language model sees true image embeddings, the mask decoder
true conditions. Weights stay in the file beside a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import onnx_ir as ir
import onnxruntime

from xsam_edge.calibration.external_weights import gather
from xsam_edge.calibration.stored_weights import store, widen
from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.onnxruntime import (
    CUDA,
    THREAD_ENTRIES,
    WEIGHTS_FOLDER,
    Model,
    OnnxRuntimeBackend,
    numbered_types,
    one_line,
    release_heap,
)
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError

Extra = Callable[[str, Mapping[str, npt.NDArray[Any]]], None]
"""Called after each run of a graph with its file's name and the outputs that its ``spec`` does not have."""

CalibrationDevice = Literal["cpu", "cuda"]


def check_device(device: CalibrationDevice) -> None:
    """Raise BackendError if ONNX Runtime cannot use a device; the message says what is missing."""
    if device == "cuda":
        CUDA.check(onnxruntime)


class EditedGraph:
    """A session that may have more outputs than its ``spec`` says."""

    def __init__(self, session: Any, spec: GraphSpec, listen: Extra | None) -> None:
        self.spec = spec
        self._session, self._listen, self._numbered = session, listen, numbered_types(spec)
        self._order = [value.name for value in session.get_outputs()]

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`. Raises what the listener raises, too."""
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            kind = self._numbered.get(name, buffer.dtype.type)
            binding.bind_input(name, "cpu", 0, kind, buffer.shape, buffer.address)
        for name in self._order:
            if name in outputs:
                buffer = outputs[name]
                kind = self._numbered.get(name, buffer.dtype.type)
                binding.bind_output(name, "cpu", 0, kind, buffer.shape, buffer.address)
            else:
                binding.bind_output(name, "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{self.spec.file} failed in ONNX Runtime: {one_line(error)}") from error
        if self._listen is not None:
            produced = zip(self._order, binding.get_outputs(), strict=True)
            self._listen(self.spec.file, {name: value.numpy() for name, value in produced if name not in outputs})


class EditedBackend(OnnxRuntimeBackend):
    """ONNX Runtime. ``edit`` reads and changes a graph; ``threads`` = 0 takes every core.

    ``disabled`` names optimisers of ONNX Runtime on the CPU. On the ``device`` "cuda" a GPU computes, in FP32 without
    TF32, and what goes in and comes out crosses with every run.

    Raises:
        BackendError: ONNX Runtime cannot use the device, and why.
    """

    maps_weights = False
    """Whether weights that are stored in 16 bits are widened into a file that is mapped, in place of memory."""

    def __init__(
        self,
        edit: Callable[[Path], ir.Model],
        listen: Extra | None = None,
        threads: int = 0,
        *,
        disabled: Sequence[str] = (),
        device: CalibrationDevice = "cpu",
    ) -> None:
        super().__init__("cpu", threads)
        self.threads, self.device = threads, device
        check_device(device)
        self._edit, self._listen, self._disabled = edit, listen, disabled

    def open(self, path: Path, spec: GraphSpec) -> EditedGraph:  # type: ignore[override]
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        return EditedGraph(self.session(self.edited(path), path), spec, self._listen)

    def edited(self, path: Path) -> ir.Model:
        """A graph as it is to be run. Raises BackendError for a file that cannot be read."""
        try:
            return self._edit(path)
        except OSError as error:
            raise BackendError(f"{path} cannot be read as ONNX: {one_line(error)}") from error

    def release(self) -> None:
        """Let go of what the last sessions alone needed: none of them is run any more."""

    def tell(self, file: str, outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """What a run of a graph gave besides; called where another runs it."""
        if self._listen is not None:
            self._listen(file, outputs)

    def session(self, model: ir.Model, path: Path) -> Any:
        """A session of a graph, or of a part of it, whose weights lie beside ``path``.

        Raises:
            BackendError: ONNX Runtime does not take it.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3  # its warnings are about placement, not about results
        # A second, packed copy of the weights would double the memory of what is mapped from the file.
        options.add_session_config_entry("session.disable_prepacking", "1")
        # Reductions run as soon as they can, so that no activation waits for them; freed memory goes back.
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.enable_cpu_mem_arena = False
        for name, value in THREAD_ENTRIES.items():
            options.add_session_config_entry(name, value)
        wide = path.with_suffix(".wide")
        if self.maps_weights:
            widen(model, wide)
        store(model)
        folder = gather(model) or path.parent
        ready = Model(ir.to_proto(model).SerializeToString(), {WEIGHTS_FOLDER: str(folder)})
        try:
            if self.device == "cuda":
                return CUDA.session_with(self._ort, ready, options)
            ready.configure(options)
            return onnxruntime.InferenceSession(
                ready.content, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(self._disabled)
            )
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{path} cannot be loaded by ONNX Runtime: {one_line(error)}") from error
        finally:
            wide.unlink(missing_ok=True)  # what is mapped stays until the session ends
            release_heap()
