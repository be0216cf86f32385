"""Whether a provider is usable, and if not, why: on a stand-in that is silent where ONNX Runtime is."""

from __future__ import annotations

import sys
from types import ModuleType

import onnxruntime
import pytest

from tests.runtime.backends.onnxruntime.fake_gpu import RTX_NAME, FakeOrt
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from xsam_edge.runtime.backends.onnxruntime import DEVICES, Model, open_device, providers
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA, TENSORRT_RTX, cuda_options, problems
from xsam_edge.runtime.errors import BackendError, NoDeviceError


@pytest.fixture
def cudart() -> FakeCudart:
    return FakeCudart()


@pytest.fixture
def ort(cudart: FakeCudart) -> FakeOrt:
    return FakeOrt(cudart)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    module.get_library_path = lambda: "/somewhere/libonnxruntime_providers_nv_tensorrt_rtx.so"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    providers._register.cache_clear()
    return module


def test_cuda_is_usable(ort: FakeOrt, cudart: FakeCudart) -> None:
    assert CUDA.check(ort, cudart) is cudart
    (session,) = ort.sessions
    assert session.providers[0] == CUDA.name and not session.fallback
    assert ort.severities[0] == 4 and ort.severities[-1] == 2, "the log is quiet for a moment, not for good"


def test_missing_libraries_are_named(ort: FakeOrt, cudart: FakeCudart, capsys: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime makes a session on the CPU, without an error."""
    ort.missing = ["libcublasLt.so.13", "libcurand.so.10"]
    with pytest.raises(BackendError) as caught:
        CUDA.check(ort, cudart)
    assert str(caught.value) == (
        "onnxruntime 1.31.1 cannot use CUDA: libcublasLt.so.13, libcurand.so.10 cannot be loaded; "
        "run `pip install 'onnxruntime-gpu[cuda,cudnn]'`, or install CUDA and cuDNN"
    )
    assert capsys.readouterr() == ("", ""), "what preload_dlls prints is in the message"


def test_a_release_that_preloads_nothing_names_the_provider(
    ort: FakeOrt, cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeOrt, "preload_dlls")
    ort.missing = ["libcudnn.so.9"]
    with pytest.raises(BackendError, match="it runs on CPUExecutionProvider in place of CUDAExecutionProvider; run"):
        CUDA.check(ort, cudart)


def test_what_fails_when_it_runs_is_found_before(ort: FakeOrt, cudart: FakeCudart) -> None:
    ort.breaks = (
        "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Non-zero status code returned while running Conv node. Name:'' "
        "Status Message: cuda_kernel.h:296 RequireCudnnHandle(cudnnHandle_t) [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED "
        ": cuDNN is unavailable: dlopen failed for libcudnn.so\n"
    )
    with pytest.raises(BackendError, match=r"use CUDA: cuDNN is unavailable: dlopen failed for libcudnn\.so; run"):
        CUDA.check(ort, cudart)


def test_a_build_without_cuda(ort: FakeOrt) -> None:
    """It is said before a driver is looked for."""
    ort.providers = ["CPUExecutionProvider"]
    with pytest.raises(BackendError, match=r"onnxruntime 1\.31\.1 has no CUDAExecutionProvider; .*xsam-edge\[gpu"):
        CUDA.check(ort)


@pytest.mark.parametrize(("runs", "refused"), [(12080, True), (13000, False), (13010, False)])
def test_a_driver_that_is_too_old(ort: FakeOrt, cudart: FakeCudart, runs: int, refused: bool) -> None:
    cudart.version = runs
    if not refused:
        CUDA.check(ort, cudart)
        return
    with pytest.raises(NoDeviceError, match=r"old: it runs CUDA 12\.8, .* was built for CUDA 13\.0; update the driver"):
        CUDA.check(ort, cudart)
    assert not ort.sessions


def test_no_device(ort: FakeOrt) -> None:
    with pytest.raises(NoDeviceError, match="gives no GPU"):
        CUDA.check(ort, FakeCudart(devices=0))
    broken = FakeCudart()
    broken.failing["cudaGetDeviceCount"] = 100
    with pytest.raises(NoDeviceError, match=r"gives no GPU \(cudaErrorNoDevice\)"):
        CUDA.check(ort, broken)


def test_fp32_is_fp32() -> None:
    """As in engines, whose builder clears TF32."""
    assert cuda_options(1)["use_tf32"] == "0" and cuda_options(1)["device_id"] == "1"
    assert [cuda_options(0, capture=capture)["enable_cuda_graph"] for capture in (False, True)] == ["0", "1"]


def test_the_plugin_is_registered_once(ort: FakeOrt, cudart: FakeCudart, plugin: ModuleType) -> None:
    for _ in range(2):
        TENSORRT_RTX.check(ort, cudart)
    assert list(ort.plugins) == [RTX_NAME]
    session = TENSORRT_RTX.session(ort, Model(providers._SMALLEST_MODEL), 0)
    assert session.get_providers()[0] == RTX_NAME and not session.fallback


def test_what_the_plugin_lacks(
    ort: FakeOrt, cudart: FakeCudart, plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    ort.missing = ["libcuda.so.1: cannot open shared object file"]
    with pytest.raises(BackendError, match=r"does not load: Failed to load library .*libcuda\.so\.1"):
        TENSORRT_RTX.check(ort, cudart)
    ort.missing = []
    monkeypatch.setattr(ort, "get_ep_devices", list, raising=False)
    with pytest.raises(NoDeviceError, match="TensorRT-RTX sees no GPU that it can use"):
        TENSORRT_RTX.check(ort, cudart)
    monkeypatch.setitem(sys.modules, plugin.__name__, None)
    with pytest.raises(BackendError, match=r"is not installed; run `pip install xsam-edge\[onnxruntime-rtx\]`"):
        TENSORRT_RTX.check(ort, cudart)
    monkeypatch.delattr(FakeOrt, "register_execution_provider_library")
    with pytest.raises(BackendError, match=r"takes no plugins, 1\.24 and newer do; .* run `pip install --upgrade "):
        TENSORRT_RTX.check(ort, cudart)


def test_this_machine_says_why() -> None:
    found = problems(onnxruntime)
    assert set(found) == {"cuda", "tensorrt-rtx"}
    if CUDA.name not in onnxruntime.get_available_providers():
        assert "has no CUDAExecutionProvider" in found["cuda"]


def test_devices_by_name() -> None:
    assert open_device("cpu", 1).name == "onnxruntime-cpu"
    with pytest.raises(BackendError, match="device 'tpu' is unknown; choose one of cpu, cuda, tensorrt-rtx"):
        open_device("tpu")


@pytest.mark.parametrize("name", DEVICES[1:])
def test_a_gpu_that_is_not_there_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(BackendError, match=r"^[^\n]*; [^;]*run `pip [^\n]*$"):
        open_device(name)
