from __future__ import annotations

import ctypes

import pytest

from tests.runtime.backends.cuda.fake_driver import FakeDriver
from xsam_edge.runtime.backends.cuda import driver
from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.backends.cuda.driver import DriverApi
from xsam_edge.runtime.errors import BackendError, DeviceMemoryError, NoDeviceError


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(driver.ctypes, "CDLL", missing)
    with pytest.raises(NoDeviceError, match=r"no NVIDIA driver \(.* is not installed\).*--gpus all"):
        DriverApi()


def test_a_driver_without_a_device() -> None:
    with pytest.raises(NoDeviceError, match=r"no CUDA device .*CUDA_ERROR_NO_DEVICE"):
        Cuda(DriverApi(FakeDriver(devices=0)))


def test_a_context_is_retained_once() -> None:
    fake = FakeDriver(devices=2)
    cuda = Cuda(DriverApi(fake))
    for _ in range(3):
        with cuda.device():
            cuda.stream()
    assert fake.retained == [0]


def test_rows_are_copied() -> None:
    cuda = Cuda(DriverApi(FakeDriver()))
    source, target, stream = cuda.allocate(32), cuda.allocate(32), cuda.stream()
    ctypes.memmove(source, bytes(range(32)), 32)
    cuda.clear(target, 32, stream)
    cuda.copy_2d(target, 8, source, 4, 2, 4, stream)
    expected = b"".join(bytes([4 * row, 4 * row + 1]) + bytes(6) for row in range(4))
    assert ctypes.string_at(target, 32) == expected
    with pytest.raises(BackendError, match="cudaMemcpy2DAsync failed: error 1"):
        cuda.copy_2d(target, 1, source, 4, 2, 4, stream)


def test_out_of_memory() -> None:
    cuda = Cuda(DriverApi(FakeDriver(capacity=1000)))
    with pytest.raises(DeviceMemoryError, match=r"1\.0 kB of 1\.0 kB are free .*CUDA_ERROR_OUT_OF_MEMORY"):
        cuda.allocate(4000)
