from __future__ import annotations

import threading

import pytest

from tests.runtime.backends.tensorrt.fake_cuda import INVALIDATED, FakeCudart
from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.errors import BackendError, DeviceMemoryError, NoDeviceError


def test_a_finaliser_frees_after_the_capture() -> None:
    """The garbage collector may run in the middle of a capture, and what it frees would break that."""
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    stream, address, pinned = cuda.stream(), cuda.allocate(256), cuda.allocate_pinned(256)
    seen = []

    def work() -> None:
        cuda.free(address)
        cuda.free_pinned(pinned)
        cuda.clear(target, 256, stream)
        seen.append(cudart.nbytes())

    target = cuda.allocate(256)
    executable = cuda.capture(stream, work)
    assert executable is not None
    assert seen == [768] and cudart.nbytes() == 256
    cuda.launch(executable, stream)


def test_other_threads_free_after_the_capture_too() -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    stream, address = cuda.stream(), cuda.allocate(256)

    def work() -> None:
        thread = threading.Thread(target=lambda: cuda.free(address))
        thread.start()
        thread.join()

    assert cuda.capture(stream, work) is not None
    assert cudart.nbytes() == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("a library's own"), MemoryError])
def test_an_exception_ends_the_capture(error: type[BaseException] | BaseException) -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    stream = cuda.stream()

    def work() -> None:
        raise error

    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        cuda.capture(stream, work)
    assert cudart.capturing is None
    assert cuda.capture(stream, lambda: None) is not None, "the stream can be captured"
    cuda.free(cuda.allocate(1))
    assert cudart.nbytes() == 0, "nothing is deferred any more"


def test_what_cannot_be_captured_is_none() -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    stream = cuda.stream()
    assert cuda.capture(stream, lambda: cuda.synchronise(stream)) is None, "a wait breaks a capture"
    assert cudart.capturing is None
    cudart.failing["cudaStreamEndCapture"] = INVALIDATED
    assert cuda.capture(stream, lambda: None) is None


def test_errors_do_not_stay_behind() -> None:
    cudart = FakeCudart(capacity=1000)
    cuda = Cuda(cudart)
    with pytest.raises(DeviceMemoryError, match=r"2\.0 kB are needed, 1\.0 kB of 1\.0 kB are free"):
        cuda.allocate(2000)
    with pytest.raises(BackendError, match="cudaFree failed: cudaErrorInvalidValue; run `xsam-doctor`"):
        cuda.free(12345)
    assert cudart.last_error == 0


def test_devices_that_cannot_be_used() -> None:
    with pytest.raises(NoDeviceError, match="CUDA sees no device"):
        Cuda(FakeCudart(devices=0))
    cudart = FakeCudart()
    cudart.failing["cudaGetDeviceCount"] = 35
    with pytest.raises(NoDeviceError, match=r"driver is too old \(.*cudaErrorInsufficientDriver\); update it, or"):
        Cuda(cudart)


def test_the_threads_own_device_comes_back() -> None:
    cudart = FakeCudart(devices=2)
    cuda = Cuda(cudart)
    cudart.cudaSetDevice(1)
    seen = []

    def work() -> None:
        with cuda.device():
            seen.append(cudart.current)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert seen == [cuda.index] == [0]
    assert cudart.current == 1
    with cuda.device():
        stream = cuda.stream()
    with pytest.raises(BackendError, match="cudaErrorInvalidResourceHandle"):
        cuda.synchronise(stream)  # of another device than the thread's
