"""cuda-python's runtime API with every call checked.

Knows handles and error codes; knows nothing of tensors, engines or who owns memory.
"""

from __future__ import annotations

import importlib
from typing import Any

from xsam_edge.runtime.errors import BackendError, DeviceMemoryError, NoDeviceError

# cuda-python 12.8 and newer, then what came before; both give the same functions.
_MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_NO_DEVICE = (35, 100)  # cudaErrorInsufficientDriver, cudaErrorNoDevice
_NON_BLOCKING = 1  # cudaStreamNonBlocking: no implicit order with the legacy stream
_NO_TIMING = 2  # cudaEventDisableTiming


def import_cudart() -> Any:
    """The module of cuda-python that holds the runtime API.

    Raises:
        BackendError: cuda-python is not installed, or does not load.
    """
    reasons = []
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reasons.append(str(error))
        except Exception as error:  # native libraries raise what they like
            reasons.append(f"{name}: {' '.join(str(error).split())[:200]}")
    raise BackendError(
        f"cuda-python does not load ({reasons[0]}); run `pip install cuda-bindings`, "
        "with the major version of the CUDA that the driver runs (`xsam-doctor` prints it)"
    )


class Cuda:
    """The calls that a backend needs. Streams, events and graphs are cuda-python's handles, addresses are integers."""

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime API; returns what follows the error code, None if nothing does.

        Raises:
            DeviceMemoryError: out of memory.
            NoDeviceError: no CUDA device, or a driver older than cuda-python.
            BackendError: any other error.
        """
        code, *values = getattr(self._cudart, name)(*arguments)
        if int(code) == 0:
            return values[0] if values else None
        text = f"{name} failed: {self._name(code)}"
        if int(code) == _OUT_OF_MEMORY:
            raise DeviceMemoryError(
                f"the GPU is out of memory ({text}); use a shorter --context, a bundle of lower precision, "
                "or end what else uses the GPU"
            )
        if int(code) in _NO_DEVICE:
            raise NoDeviceError(f"no CUDA device ({text}); check `nvidia-smi`, and the driver's CUDA version")
        raise BackendError(f"{text}; run `xsam-doctor`")

    def _name(self, code: Any) -> str:
        name = self._cudart.cudaGetErrorName(code)[1]
        return name.decode() if isinstance(name, bytes) else f"error {int(code)}"

    def device_count(self) -> int:
        """CUDA devices; raises NoDeviceError where there is no driver."""
        return int(self.call("cudaGetDeviceCount"))

    def allocate(self, nbytes: int) -> int:
        """Device memory; the address is aligned to 256 bytes."""
        return int(self.call("cudaMalloc", nbytes))

    def free(self, address: int) -> None:
        """Give device memory back; waits for the work that uses it."""
        self.call("cudaFree", address)

    def allocate_pinned(self, nbytes: int) -> int:
        """Host memory that the GPU copies from and to without a detour."""
        return int(self.call("cudaMallocHost", nbytes))

    def free_pinned(self, address: int) -> None:
        """Give pinned host memory back."""
        self.call("cudaFreeHost", address)

    def stream(self) -> Any:
        """A new stream."""
        return self.call("cudaStreamCreateWithFlags", _NON_BLOCKING)

    def event(self) -> Any:
        """A new event."""
        return self.call("cudaEventCreateWithFlags", _NO_TIMING)

    def wait(self, stream: Any, event: Any, after: Any) -> None:
        """Let ``stream`` wait for all that was put into the stream ``after``; ``event`` carries it."""
        self.call("cudaEventRecord", event, after)
        self.call("cudaStreamWaitEvent", stream, event, 0)

    def synchronise(self, stream: Any) -> None:
        """Let the host wait for a stream."""
        self.call("cudaStreamSynchronize", stream)

    def upload(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy host memory to the device."""
        self._copy(target, source, nbytes, "cudaMemcpyHostToDevice", stream)

    def download(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy device memory to the host."""
        self._copy(target, source, nbytes, "cudaMemcpyDeviceToHost", stream)

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy device memory on the device."""
        self._copy(target, source, nbytes, "cudaMemcpyDeviceToDevice", stream)

    def copy_2d(
        self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int, stream: Any
    ) -> None:
        """Copy ``rows`` of ``width`` bytes on the device; a pitch is the distance of two rows."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self.call("cudaMemcpy2DAsync", target, target_pitch, source, source_pitch, width, rows, kind, stream)

    def clear(self, address: int, nbytes: int, stream: Any) -> None:
        """Set device memory to zeros."""
        self.call("cudaMemsetAsync", address, 0, nbytes, stream)

    def clear_2d(self, address: int, pitch: int, width: int, rows: int, stream: Any) -> None:
        """Set ``rows`` of ``width`` bytes to zeros; the pitch is the distance of two rows."""
        self.call("cudaMemset2DAsync", address, pitch, 0, width, rows, stream)

    def _copy(self, target: int, source: int, nbytes: int, kind: str, stream: Any) -> None:
        if nbytes:
            self.call("cudaMemcpyAsync", target, source, nbytes, getattr(self._cudart.cudaMemcpyKind, kind), stream)

    def begin_capture(self, stream: Any) -> None:
        """Record what follows in ``stream`` instead of running it. Other threads may go on calling CUDA."""
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Any) -> Any:
        """End a capture; returns what :meth:`launch` takes."""
        graph = self.call("cudaStreamEndCapture", stream)
        try:
            return self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)

    def launch(self, executable: Any, stream: Any) -> None:
        """Run a captured graph."""
        self.call("cudaGraphLaunch", executable, stream)

    def destroy(self, executable: Any) -> None:
        """Free a captured graph."""
        self.call("cudaGraphExecDestroy", executable)
