"""Tensors on stand-ins of CUDA, and on a real GPU where there is one: the same tests."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

from tests.runtime.backends.cuda.fake_driver import FakeDriver
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from xsam_edge.runtime.backends.cuda.calls import Cuda, import_cudart
from xsam_edge.runtime.backends.cuda.driver import DriverApi
from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors
from xsam_edge.runtime.errors import BackendError, NoDeviceError


def real_cudart() -> Any:
    try:
        cudart = import_cudart()
        Cuda(cudart)
    except (BackendError, NoDeviceError) as error:
        pytest.skip(str(error))
    return cudart


def real_driver() -> Any:
    try:
        driver = DriverApi()
        Cuda(driver)
    except NoDeviceError as error:
        pytest.skip(str(error))
    return driver


@pytest.fixture(
    params=[
        pytest.param(FakeCudart, id="runtime"),
        pytest.param(lambda: DriverApi(FakeDriver()), id="driver"),
        pytest.param(real_cudart, id="runtime-gpu", marks=pytest.mark.gpu),
        pytest.param(real_driver, id="driver-gpu", marks=pytest.mark.gpu),
    ]
)
def tensors(request: pytest.FixtureRequest) -> DeviceTensors:
    return DeviceTensors(Cuda(request.param()))


def test_values_go_there_and_back(tensors: DeviceTensors) -> None:
    values = np.arange(12, dtype=np.float16).reshape(1, 4, 3)
    buffer = tensors.upload(values)
    whole, part = tensors.download(buffer), tensors.download_view(buffer.tokens(1, 3))
    tensors.download(tensors.upload(-values))
    np.testing.assert_array_equal(whole, values)
    np.testing.assert_array_equal(part, values[:, 1:3])
    np.testing.assert_array_equal(tensors.download(buffer.tokens(1, 3)), values[:, 1:3])
    assert tensors.download(tensors.upload(values[:, :0])).shape == (1, 0, 3)
    free, total = tensors.free_memory()
    assert 0 < free <= total


def test_rows_are_joined_on_the_device(tensors: DeviceTensors) -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    buffer = tensors.upload(values)
    joined = tensors.assemble([values[:, :1], buffer.tokens(0, 2), values[:, :0], values])
    del buffer
    gc.collect()
    expected = np.concatenate([values[0, :1], values[0, :2], values[0]])
    np.testing.assert_array_equal(tensors.download(joined)[0], expected)
    with pytest.raises(ValueError, match="does not continue"):
        tensors.assemble([values, values.astype(np.float16)])
    with pytest.raises(ValueError, match="does not continue"):
        tensors.assemble([values, tensors.upload(values), values.astype(np.float16)])


def test_alike_buffers_are_zeros_at_equal_distances(tensors: DeviceTensors) -> None:
    buffers = tensors.allocate_alike(3, (1, 5, 2), np.float32)
    assert not any(tensors.download(buffer).any() for buffer in buffers)
    assert buffers[2].address - buffers[1].address == buffers[1].address - buffers[0].address
    ones = tensors.upload(np.ones((1, 5, 2), np.float32))
    for buffer in buffers:
        tensors._cuda.copy(buffer.address, ones.address, ones.nbytes, tensors._transfers)
    tensors.clear_alike([buffer.tokens(1, 3) for buffer in buffers])
    expected = np.ones((1, 5, 2), np.float32)
    expected[:, 1:3] = 0
    for buffer in buffers:
        np.testing.assert_array_equal(tensors.download(buffer), expected)


def test_any_thread_may_use_them(tensors: DeviceTensors) -> None:
    """A thread begins without a context of the driver."""
    values, found = np.arange(5.0), []
    threads = [threading.Thread(target=lambda: found.append(tensors.download(tensors.upload(values)))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, [values, values])


def test_threads_use_the_device_of_the_one_that_made_them() -> None:
    cudart = FakeCudart(devices=2)
    cudart.cudaSetDevice(1)
    tensors = DeviceTensors(Cuda(cudart))
    blocks: list[Any] = []

    def work() -> None:
        blocks.append(tensors.upload(np.ones(4)).owner)
        blocks.append(tensors.assemble([np.ones((1, 4))]).owner[0])
        tensors.synchronize()
        blocks.append(cudart.current)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [cudart.device_of(block.address) for block in blocks[:2]] == [1, 1]
    assert blocks[2] == 0, "the thread's own device is as it was"


def test_memory_that_nobody_refers_to_is_used_again() -> None:
    cudart = FakeCudart()
    tensors = DeviceTensors(Cuda(cudart))
    tensors.upload(np.ones(1000))
    tensors.synchronize()
    gc.collect()
    before = cudart.nbytes()
    for _ in range(3):
        tensors.upload(np.ones(1000))
        tensors.synchronize()
        gc.collect()
    assert cudart.nbytes() == before
