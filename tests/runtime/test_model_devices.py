"""Where a model is loaded, on stand-ins of CUDA, of TensorRT and of ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import DATA
from tests.runtime.backends.onnxruntime.fake_gpu import FakeOrt
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from tests.runtime.backends.tensorrt.fake_tensorrt import VERSION, FakeTensorRT, engine_bundle
from xsam_edge.runtime import model
from xsam_edge.runtime.backends.onnxruntime.gpu import GpuBackend
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA
from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend
from xsam_edge.runtime.device.compatibility import Environment
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import DeviceMemoryError
from xsam_edge.runtime.model import XSam

IMAGE = DATA / "golden-phi3" / "image.png"
GPU = DeviceInfo("RTX 4090", "8.7", 24 << 30, False, "580.65.06", "13.0")


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch) -> FakeCudart:
    cudart = FakeCudart()
    ort = FakeOrt(cudart)

    def open_device(device: str, threads: int) -> GpuBackend:
        assert device == "cuda"
        return GpuBackend(CUDA, ort=ort, driver=cudart, cudart=cudart)

    def open_engines(*arguments: Any, **options: Any) -> TensorRTBackend:
        return TensorRTBackend(*arguments, **options, cudart=cudart, trt=FakeTensorRT(cudart))

    monkeypatch.setattr(model, "open_device", open_device)
    monkeypatch.setattr(model, "TensorRTBackend", open_engines)
    monkeypatch.setattr(model, "find_device", lambda: GPU)
    monkeypatch.setattr(model, "find_environment", lambda flavour: Environment({flavour: VERSION}, GPU))
    return cudart


def test_a_gpu_that_others_use(phi3_bundle: Path, cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch) -> None:
    cudart.capacity = 1 << 20
    with pytest.raises(DeviceMemoryError, match=r"RTX 4090 has 1\.0 MB of 1\.0 MB free; end what else uses it"):
        XSam.load(phi3_bundle, device="cuda")
    # Where host and GPU share their memory, the cache of files counts as used.
    monkeypatch.setattr(model, "find_device", lambda: replace(GPU, integrated=True))
    with pytest.raises(DeviceMemoryError, match="the GPU is out of memory"):
        XSam.load(phi3_bundle, device="cuda")
    cudart.capacity = 1 << 30
    assert XSam.load(phi3_bundle, device="cuda").look(IMAGE).refer("a car", answer="append").answered


def test_engines_on_a_gpu_that_others_use(phi3_bundle: Path, tmp_path: Path, cudart: FakeCudart) -> None:
    folder = engine_bundle(phi3_bundle, tmp_path / "engines")
    cudart.capacity = 1 << 20
    with pytest.raises(DeviceMemoryError, match="free; end what else uses it"):
        XSam.load(folder)


def test_starts_of_tensorrt_rtx_differ(phi3_bundle: Path, tmp_path: Path, cudart: FakeCudart) -> None:
    folder = engine_bundle(phi3_bundle, tmp_path / "engines", "tensorrt-rtx")
    first = XSam.load(folder)
    first.look(IMAGE).refer("a car", answer="append")
    backend: Any = first.pipeline.backend
    assert backend.kernels.found == 0
    backend.kernels.save()
    (file,) = folder.glob("*.rtxcache")
    assert file.name == f"kernels-{VERSION}-RTX_4090_8.7-580.65.06.rtxcache"
    second: Any = XSam.load(folder).pipeline.backend
    assert second.kernels.found == file.stat().st_size


def test_engines_of_tensorrt_keep_nothing(phi3_bundle: Path, tmp_path: Path, cudart: FakeCudart) -> None:
    backend: Any = XSam.load(engine_bundle(phi3_bundle, tmp_path / "engines")).pipeline.backend
    assert backend.kernels is None
