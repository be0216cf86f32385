"""CUDA's runtime API with every call checked.

Knows handles and error codes; knows nothing of tensors, engines or who owns memory.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xsam_edge.runtime.errors import BackendError, DeviceMemoryError, NoDeviceError
from xsam_edge.runtime.units import size

# cuda-python 12.8 and newer, then what came before; both give the same functions.
_MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_OLD_DRIVER = 35  # cudaErrorInsufficientDriver
_NO_DEVICE = 100  # cudaErrorNoDevice
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
    """The calls that a backend needs, of the device that is the calling thread's when this is made.

    Streams, events and graphs are handles of ``cudart``, addresses are integers. Other threads enter :meth:`device`
    before they call, since a thread begins with device 0.
    """

    def __init__(self, cudart: Any) -> None:
        """``cudart`` is cuda-python's module, or what has its functions (:class:`DriverApi`).

        Raises:
            NoDeviceError: no CUDA device, or a driver that is too old.
        """
        self._cudart = cudart
        if not self.call("cudaGetDeviceCount"):
            raise NoDeviceError("CUDA sees no device; check `nvidia-smi` and CUDA_VISIBLE_DEVICES")
        self.index = int(self.call("cudaGetDevice"))
        self.call("cudaSetDevice", self.index)  # which makes a thread's first calls find a context
        self._lock = threading.RLock()  # a finaliser may free in the middle of what holds it
        self._captures = 0
        self._deferred: list[Callable[[], None]] = []

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime API; returns the first thing behind the error code, None if nothing is there.

        Raises: see :meth:`call_all`.
        """
        values = self.call_all(name, *arguments)
        return values[0] if values else None

    def call_all(self, name: str, *arguments: Any) -> Sequence[Any]:
        """Call a function of the runtime API; returns what follows the error code.

        Raises:
            DeviceMemoryError: out of memory.
            NoDeviceError: no CUDA device, or a driver that is too old.
            BackendError: any other error.
        """
        code, *given = getattr(self._cudart, name)(*arguments)
        values: Sequence[Any] = given
        if int(code) == 0:
            return values
        # The runtime keeps its last error, and other libraries would take it for one of theirs.
        self._cudart.cudaGetLastError()
        text = f"{name} failed: {self._name(code)}"
        if int(code) == _OUT_OF_MEMORY:
            wanted = f"{size(arguments[0])} are needed, " if arguments and isinstance(arguments[0], int) else ""
            raise DeviceMemoryError(
                f"the GPU is out of memory: {wanted}{self._describe_memory()} ({text}); use a shorter --context, a "
                "bundle of lower precision, or end what else uses the GPU"
            )
        if int(code) == _OLD_DRIVER:
            raise NoDeviceError(
                f"the NVIDIA driver is too old ({text}); update it, or install cuda-bindings of the major version of "
                "the CUDA that it runs (`xsam-doctor` prints it)"
            )
        if int(code) == _NO_DEVICE:
            raise NoDeviceError(f"no CUDA device ({text}); check `nvidia-smi` and CUDA_VISIBLE_DEVICES")
        raise BackendError(f"{text}; run `xsam-doctor`")

    def _name(self, code: Any) -> str:
        name = self._cudart.cudaGetErrorName(code)[1]
        return name.decode() if isinstance(name, bytes) else f"error {int(code)}"

    def _describe_memory(self) -> str:
        code, *values = self._cudart.cudaMemGetInfo()
        return f"{size(int(values[0]))} of {size(int(values[1]))} are free" if int(code) == 0 else "how much is unknown"

    @contextlib.contextmanager
    def device(self) -> Iterator[None]:
        """Make this device the calling thread's; the one that it had comes back at the end."""
        before = int(self.call("cudaGetDevice"))
        self.call("cudaSetDevice", self.index)
        try:
            yield
        finally:
            if before != self.index:
                self.call("cudaSetDevice", before)

    def memory(self) -> tuple[int, int]:
        """Bytes of the device that are free now, and all of them."""
        free, total = self.call_all("cudaMemGetInfo")
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        """Device memory; the address is aligned to 256 bytes."""
        return int(self.call("cudaMalloc", nbytes))

    def free(self, address: int) -> None:
        """Give device memory back; waits for the work that uses it."""
        self._after_captures(lambda: self.call("cudaFree", address))

    def allocate_pinned(self, nbytes: int) -> int:
        """Host memory that the GPU copies from and to without a detour."""
        return int(self.call("cudaMallocHost", nbytes))

    def free_pinned(self, address: int) -> None:
        """Give pinned host memory back."""
        self._after_captures(lambda: self.call("cudaFreeHost", address))

    def _after_captures(self, free: Callable[[], None]) -> None:
        """Free now, or when no capture is under way: a finaliser's call would break one in its thread."""
        with self._lock:
            if self._captures:
                self._deferred.append(free)
                return
        free()

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

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """Record what ``work`` puts into ``stream`` instead of running it; other threads may go on calling CUDA.

        Returns:
            what :meth:`launch` takes; None where the work cannot be captured, as a BackendError of ``work`` or of the
            end of the capture says.

        Raises:
            what else ``work`` raises, after the capture has ended.
        """
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        with self._frees_deferred():
            self.call("cudaStreamBeginCapture", stream, mode)
            try:
                work()
            except BaseException as error:
                with contextlib.suppress(BackendError):  # an invalid capture ends with the error that made it so
                    self.call("cudaGraphDestroy", self.call("cudaStreamEndCapture", stream))
                if isinstance(error, BackendError):
                    return None
                raise
            try:
                graph = self.call("cudaStreamEndCapture", stream)
            except BackendError:
                return None
        try:
            return self.call("cudaGraphInstantiate", graph, 0)
        except BackendError:
            return None
        finally:
            self.call("cudaGraphDestroy", graph)

    @contextlib.contextmanager
    def _frees_deferred(self) -> Iterator[None]:
        with self._lock:
            self._captures += 1
        try:
            yield
        finally:
            with self._lock:
                self._captures -= 1
                due, self._deferred = ([], self._deferred) if self._captures else (self._deferred, [])
            for free in due:
                free()

    def launch(self, executable: Any, stream: Any) -> None:
        """Run a captured graph."""
        self.call("cudaGraphLaunch", executable, stream)

    def destroy(self, executable: Any) -> None:
        """Free a captured graph."""
        self._after_captures(lambda: self.call("cudaGraphExecDestroy", executable))
