"""The backend of TensorRT and TensorRT-RTX engines.

Every tensor stays on the device but what is uploaded and downloaded by name, through pinned memory. Two streams: one
encodes images, the other does the rest. Runs return when their outputs are written; with ``overlap`` a second thread
may encode the next image while the first asks about the current one. Without it all engines share the memory of their
activations, and such threads take turns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xsam_edge.runtime.backends.cuda.calls import Cuda, import_cudart
from xsam_edge.runtime.backends.cuda.pool import Pool
from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors
from xsam_edge.runtime.backends.tensorrt.engine import Library
from xsam_edge.runtime.backends.tensorrt.graph import Activations, TensorRTGraph
from xsam_edge.runtime.backends.tensorrt.kernels import KernelCache
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP, STREAMS, first_rows, row_steps
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineInfo
from xsam_edge.runtime.bundle.manifest import GraphSpec, Manifest
from xsam_edge.runtime.errors import BackendError


class TensorRTBackend(DeviceTensors):
    """Runs the engines of one bundle, on the device that is the calling thread's when this is made.

    The caller has checked the hashes of the bundle's files, and with ``engines.check_engine`` that they run here.
    """

    past_step = PAST_STEP
    resizes_pixels = True
    runs_without_logits = False  # never tried on a GPU, and the row that is asked for instead costs little there

    def __init__(
        self,
        manifest: Manifest,
        *,
        overlap: bool = False,
        kernels: KernelCache | None = None,
        cudart: Any = None,
        trt: Any = None,
    ) -> None:
        """Open the device.

        Args:
            manifest: the bundle's.
            overlap: give each stream activation memory of its own.
            kernels: where TensorRT-RTX keeps what it compiles from one start to the next; None keeps nothing.
            cudart: in place of cuda-python's runtime module.
            trt: in place of TensorRT's module.

        Raises:
            BackendError: the bundle holds no engines, or cuda-python does not load.
            NoDeviceError: there is no CUDA device.
        """
        if manifest.engine is None:
            raise BackendError("this bundle holds ONNX graphs, no engines; load it without a backend")
        self.name: str = manifest.engine.flavour
        self._engine: EngineInfo = manifest.engine
        profiles = manifest.engine.profiles[contract.LLM]
        self.prefill_rows, self.row_steps = first_rows(profiles), row_steps(profiles)
        self._graphs = {spec.file: name for name, spec in manifest.graphs.items()}
        super().__init__(Cuda(cudart or import_cudart()))  # first: TensorRT crashes without a device
        self.kernels = kernels
        self._library = Library(manifest.engine.flavour, trt, kernels)
        self._streams = {index: self._cuda.stream() for index in sorted(set(STREAMS.values()))}
        # Not from the pool that keeps what is given back: activations only ever grow.
        pool = Pool(self._cuda.allocate, self._cuda.free, 0)
        shared = Activations(pool)
        self._activations = {index: Activations(pool) if overlap else shared for index in self._streams}

    def open(self, path: Path, spec: GraphSpec) -> TensorRTGraph:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        name = self._graphs[spec.file]
        profiles = self._engine.profiles[name]
        index = STREAMS[name]
        with self._cuda.device():
            engine = self._library.deserialise(path, spec, len(profiles))
            self._activations[index].grow(int(engine.device_memory_size_v2))
            return TensorRTGraph(
                spec, profiles, engine, self._library, self._cuda, self._streams[index], self._activations[index], self
            )
