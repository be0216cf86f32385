from __future__ import annotations

import ctypes
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.samples import MANIFEST as ONNX
from tests.samples import graph_specs, write_files
from xsam_edge.runtime import XSam
from xsam_edge.runtime.bundle import manifest as m
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile, KVCacheChoice
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.bundle.verification import VERIFY
from xsam_edge.runtime.device import compatibility, cuda_device
from xsam_edge.runtime.device.compatibility import Environment, check_engine, find_environment, release
from xsam_edge.runtime.device.cuda_device import DeviceInfo, driver_version, find_device
from xsam_edge.runtime.errors import (
    AlteredFileError,
    BackendError,
    EngineDeviceError,
    EngineVersionError,
    NoDeviceError,
)

ENGINE = EngineInfo(
    flavour="tensorrt",
    version="10.3.0",
    target="orin-nx",
    compute_capabilities=("8.7",),
    gpu="Orin",
    driver="540.4.0",
    cuda="12.6",
    context=1024,
    kv_cache=KVCacheChoice("decomposed", "why"),
    options={"strongly_typed": True, "optimization_level": 3},
    profiles={
        "image_encoder": (EngineProfile("only", {}),),
        "llm": (EngineProfile("decode", dict.fromkeys(("batch", "sequence", "past", "rows"), (1, 1, 1))),),
        "mask_decoder": (EngineProfile("only", {"batch": (1, 1, 8), "conditions": (1, 133, 2048)}),),
    },
    memory={"weights: llm": 5},
    onnx={"llm": "0" * 64},
)
ORIN = DeviceInfo("Orin", "8.7", 8 << 30, integrated=True, driver="540.4.0", cuda="12.6")


def manifest_of(engine: EngineInfo | None, files: dict[str, m.FileEntry] | None = None) -> m.Manifest:
    return replace(ONNX, precision="fp16", graphs=graph_specs("engine"), files=files or {}, engine=engine)


MANIFEST = manifest_of(ENGINE)


def test_engines_survive_json() -> None:
    assert from_json(m.Manifest, json.loads(MANIFEST.to_json()), "manifest") == MANIFEST


def test_what_was_built_here_passes() -> None:
    check_engine(MANIFEST, Environment({"tensorrt": "10.3.0.26"}, ORIN))
    check_engine(manifest_of(None), Environment({}, None))


def test_a_missing_library_names_its_command() -> None:
    with pytest.raises(EngineVersionError, match=r"need tensorrt 10\.3\.0; .*nvidia-jetpack"):
        check_engine(MANIFEST, Environment({"tensorrt-rtx": "1.7.1"}, ORIN))
    rtx = manifest_of(replace(ENGINE, flavour="tensorrt-rtx", version="1.7.1.116"))
    with pytest.raises(EngineVersionError, match=r"pip install tensorrt-rtx==1\.7\.1\.116"):
        check_engine(rtx, Environment({"tensorrt": "10.3.0"}, ORIN))


@pytest.mark.parametrize("version", ["10.3.1", "10.13.3.9", "11.0.0"])
def test_another_release_is_refused_with_the_command_that_builds_again(version: str) -> None:
    with pytest.raises(EngineVersionError, match=rf"installed is {version}; .*xsam-export --from .* --engine tensorrt"):
        check_engine(MANIFEST, Environment({"tensorrt": version}, ORIN))


def test_another_gpu_is_refused() -> None:
    other = replace(ORIN, name="RTX 4090", compute_capability="8.9")
    with pytest.raises(EngineDeviceError, match=r"capability 8\.7, RTX 4090 has 8\.9; .*`xsam-export --from"):
        check_engine(MANIFEST, Environment({"tensorrt": "10.3.0"}, other))


def test_a_machine_without_a_gpu_is_refused_last() -> None:
    with pytest.raises(EngineVersionError):
        check_engine(MANIFEST, Environment({}, None))
    with pytest.raises(NoDeviceError, match="check `nvidia-smi`"):
        check_engine(MANIFEST, Environment({"tensorrt": "10.3.0"}, None))
    with pytest.raises(NoDeviceError, match="no driver"):
        check_engine(MANIFEST, Environment({"tensorrt": "10.3.0"}, None, {"device": "no driver"}))


def test_every_failure_is_a_backend_error() -> None:
    for kind in (EngineVersionError, EngineDeviceError, NoDeviceError):
        assert issubclass(kind, BackendError)


def test_a_release_is_three_numbers() -> None:
    assert release("10.3.0.26") == release("10.3.0") == ("10", "3", "0")
    assert release("1.7.1+cu13") == ("1", "7", "1")


def test_the_environment_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("tensorrt")
    fake.__version__ = "10.3.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setattr(compatibility, "find_device", lambda: ORIN)
    found = find_environment()
    assert found.versions == {"tensorrt": "10.3.0"}
    assert found.device == ORIN
    assert "pip install xsam-edge[tensorrt-rtx]" in found.problems["tensorrt-rtx"]


def test_a_library_that_does_not_load_is_a_problem_not_a_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text('raise OSError("libnvinfer.so.10: cannot open shared object file")')
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    found = find_environment("tensorrt")
    assert found.versions == {}
    assert "does not load (libnvinfer.so.10" in found.problems["tensorrt"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_files(tmp_path, MANIFEST, b"engine")
    return tmp_path


def test_hashes_come_first(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("looked at the machine before the hashes")

    (bundle / "llm.engine").write_bytes(b"enginE")
    monkeypatch.setattr("xsam_edge.runtime.model.find_environment", never)
    for verify in VERIFY:  # an engine is native code: there is no way around its hash
        with pytest.raises(AlteredFileError, match=r"llm\.engine was altered: .*xsam-export --from"):
            XSam.load(bundle, verify=verify)


def test_kernels_are_those_of_what_was_checked(tmp_path: Path) -> None:
    """Not of what a manifest claims beside that, or one could leave its kernels for another one's engines."""
    rtx = replace(ENGINE, flavour="tensorrt-rtx")

    def kernels(entry: m.FileEntry) -> Path | None:
        return compatibility.kernel_path(tmp_path / "read only", manifest_of(rtx, {"llm.engine": entry}), ORIN)

    one, other = (m.Chunks(4, (digit * 64, "0" * 64)) for digit in "12")
    assert kernels(m.FileEntry(8, "a" * 64, one)) == kernels(m.FileEntry(8, "b" * 64, one))
    assert kernels(m.FileEntry(8, "a" * 64, one)) != kernels(m.FileEntry(8, "a" * 64, other))
    assert kernels(m.FileEntry(8, "a" * 64)) != kernels(m.FileEntry(8, "b" * 64))


def test_the_machine_is_asked_before_a_library_is(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "xsam_edge.runtime.model.find_environment", lambda flavour: Environment({flavour: "10.3.0"}, None)
    )
    with pytest.raises(NoDeviceError):
        XSam.load(bundle)


class FakeCuda:
    """The functions of the driver's library that are called, on a machine with ``count`` GPUs."""

    def __init__(self, count: int = 1, init: int = 0) -> None:
        self.count, self.init = count, init

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self.init

    def cuDeviceGetCount(self, out: object) -> int:  # noqa: N802
        return self._set(out, self.count)

    def cuDeviceGet(self, out: object, index: int) -> int:  # noqa: N802
        return self._set(out, 40 + index)

    def cuDeviceGetName(self, out: ctypes.Array[ctypes.c_char], size: int, device: ctypes.c_int) -> int:  # noqa: N802
        assert size == 256
        out.value = f"GPU {device.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, out: object, _: ctypes.c_int) -> int:  # noqa: N802
        return self._set(out, 24 << 30)

    def cuDriverGetVersion(self, out: object) -> int:  # noqa: N802
        return self._set(out, 12060)

    def cuDeviceGetAttribute(self, out: object, attribute: int, _: ctypes.c_int) -> int:  # noqa: N802
        return self._set(out, {75: 8, 76: 9, 18: 0}[attribute])

    @staticmethod
    def _set(out: object, value: int) -> int:
        out._obj.value = value  # type: ignore[attr-defined]
        return 0


def test_a_device_is_described_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_device.ctypes, "CDLL", lambda name: FakeCuda())
    monkeypatch.setattr(cuda_device, "driver_version", lambda: "580.65.06")
    assert find_device() == DeviceInfo("GPU 40", "8.9", 24 << 30, False, "580.65.06", "12.6")


@pytest.mark.parametrize(
    ("cuda", "message"),
    [
        (FakeCuda(init=100), "sees no device"),
        (FakeCuda(init=999), "cuInit returned error 999"),
        (FakeCuda(count=0), "CUDA_VISIBLE_DEVICES"),
    ],
    ids=["none", "broken", "hidden"],
)
def test_no_device_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, message: str) -> None:
    monkeypatch.setattr(cuda_device.ctypes, "CDLL", lambda name: cuda)
    with pytest.raises(NoDeviceError, match=message):
        find_device()


def test_no_driver_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(cuda_device.ctypes, "CDLL", missing)
    with pytest.raises(NoDeviceError, match=r"no NVIDIA driver.*--gpus all"):
        find_device()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n", "550.54.14"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n", "540.4.0"),
        ("nothing\n", ""),
    ],
)
def test_the_version_of_the_kernel_module(tmp_path: Path, text: str, version: str) -> None:
    file = tmp_path / "version"
    file.write_text(text)
    assert driver_version(file) == version
    assert driver_version(tmp_path / "none") == ""
