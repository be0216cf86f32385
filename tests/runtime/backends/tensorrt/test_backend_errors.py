"""What goes wrong in the backend, on the same stand-ins: CUDA, TensorRT, and bundles that do not belong here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recorded import DATA
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from tests.runtime.backends.tensorrt.fake_tensorrt import (
    VERSION,
    engine_bundle,
    fake_backend,
)
from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device import compatibility
from xsam_edge.runtime.device.compatibility import Environment
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import (
    AlteredFileError,
    BackendError,
    DeviceMemoryError,
    EngineDeviceError,
    EngineVersionError,
    InputError,
    NoDeviceError,
)
from xsam_edge.runtime.model import XSam

IMAGE = DATA / "golden-phi3" / "image.png"
ORIN = DeviceInfo("Orin", "8.7", 8 << 30, True, "540.4.0", "12.6")


def test_errors_of_cuda(engine_folder: Path, backend: Any) -> None:
    cudart = backend.fake_cudart
    cudart.capacity = cudart.used(0) + (3 << 20)
    needed = r"8\.4 MB are needed, 3\.1 MB of \d+\.\d MB are free \(cudaMalloc failed: cudaErrorMemoryAllocation\)"
    with pytest.raises(DeviceMemoryError, match=needed):
        backend.allocate((1 << 21,), "float32")
    assert cudart.last_error == 0, "other libraries would take what CUDA remembers for an error of theirs"
    backend.fake_cudart.failing["cudaStreamSynchronize"] = 700
    with pytest.raises(BackendError, match=r"cudaStreamSynchronize failed: cudaErrorOther; run `xsam-doctor`"):
        backend.synchronize()
    with pytest.raises(NoDeviceError, match="CUDA sees no device"):
        fake_backend(engine_folder, devices=0)
    cudart = FakeCudart()
    cudart.failing["cudaGetDeviceCount"] = 35
    with pytest.raises(NoDeviceError, match="cudaErrorInsufficientDriver"):
        Cuda(cudart)


def test_errors_of_tensorrt(engine_folder: Path, model: XSam, backend: Any, tmp_path: Path) -> None:
    manifest = read_manifest(engine_folder)
    (tmp_path / "llm.engine").write_bytes(b"\0\1\2")
    with pytest.raises(BackendError, match=r"llm\.engine cannot be loaded by tensorrt: not an engine"):
        backend.open(tmp_path / "llm.engine", manifest.graphs["llm"])
    (tmp_path / "llm.engine").write_bytes(b"")
    with pytest.raises(BackendError, match=r"llm\.engine cannot be read"):
        backend.open(tmp_path / "llm.engine", manifest.graphs["llm"])
    with pytest.raises(BackendError, match="other inputs than its manifest says"):
        backend.open(engine_folder / "mask_decoder.engine", manifest.graphs["llm"])
    backend.fake_trt.failing.add("llm")
    with pytest.raises(BackendError, match=r"llm\.engine failed in tensorrt: no kernel"):
        model.look(IMAGE).refer("a car")


def test_a_profile_that_is_refused(engine_folder: Path) -> None:
    """The bindings raise; they never give False."""
    backend = fake_backend(engine_folder)
    backend.fake_trt.refused_profiles.add(1)
    with pytest.raises(BackendError, match=r"profile 1 of llm\.engine cannot be chosen \(Error in set optimization"):
        XSam.load(engine_folder, backend=backend)


def environment(**versions: str) -> Environment:
    return Environment(versions, ORIN)


def test_nothing_is_deserialised_before_it_was_checked(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(TensorRTBackend, "__init__", lambda self, *a, **k: made.append(a))
    for found, error in (
        (Environment({}, None), EngineVersionError),
        (environment(tensorrt="10.13.0"), EngineVersionError),
        (Environment({"tensorrt": VERSION}, DeviceInfo("Thor", "11.0", 1, True, "", "13.0")), EngineDeviceError),
        (Environment({"tensorrt": VERSION}, None), NoDeviceError),
    ):
        monkeypatch.setattr("xsam_edge.runtime.model.find_environment", lambda *_, found=found: found)
        with pytest.raises(error):
            XSam.load(engine_folder)
    path = engine_folder / "llm.engine"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + b"]")
        monkeypatch.setattr("xsam_edge.runtime.model.find_environment", lambda *_: environment(tensorrt=VERSION))
        for verify in ("full", "changed", "none"):
            with pytest.raises(AlteredFileError, match=r"llm\.engine was altered"):
                XSam.load(engine_folder, verify=verify)
    finally:
        path.write_bytes(content)
    assert not made
    assert compatibility.check_engine(read_manifest(engine_folder), environment(tensorrt=VERSION)) is None


def test_the_context_that_engines_were_built_for(phi3_bundle: Path, tmp_path: Path) -> None:
    folder = engine_bundle(phi3_bundle, tmp_path / "short", context=96)
    assert XSam.load(folder, backend=fake_backend(folder)).pipeline.cache.capacity == 96
    with pytest.raises(InputError, match="context is 97; this model takes 1 to 96 tokens"):
        XSam.load(folder, backend=fake_backend(folder), context=97)


def test_an_onnx_bundle_is_none_of_engines(phi3_bundle: Path) -> None:
    with pytest.raises(BackendError, match="holds ONNX graphs, no engines"):
        fake_backend(phi3_bundle)
