from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors
from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.doctor.readings import Memory, gpu_temperature, memory, temperatures
from xsam_edge.runtime.errors import BackendError


def host(tmp_path: Path, **zones: str) -> Host:
    for number, (kind, value) in enumerate(zones.items()):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind.replace("_", "-") + "\n")
        if value:
            (zone / "temp").write_text(value + "\n")
    return Host(tmp_path)


def test_temperatures_of_a_board(tmp_path: Path) -> None:
    board = host(tmp_path, cpu_thermal="48500", gpu_thermal="51250", cv0_thermal="", tj_thermal="52000")
    assert temperatures(board) == {"cpu-thermal": 48.5, "gpu-thermal": 51.25}


def test_whatever_else_there_is(tmp_path: Path) -> None:
    assert temperatures(host(tmp_path, acpitz="27800", broken="warm")) == {"acpitz": 27.8}
    assert temperatures(Host(tmp_path / "nothing")) == {}


def test_memory_of_this_process(tmp_path: Path) -> None:
    assert memory(Host(tmp_path), None) == Memory(None)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmRSS:\t  123456 kB\n")
    assert memory(Host(tmp_path), None) == Memory(123456 * 1024)
    if Path("/proc/self/status").is_file():
        now = memory(Host(), None).process
        assert now is not None and now == pytest.approx(100e6, rel=50)


class Gpu(DeviceTensors):
    """A GPU of which three bytes of ten are free, or whose driver does not answer."""

    name = "gpu"

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    def free_memory(self) -> tuple[int, int]:
        if not self.answers:
            raise BackendError("cudaMemGetInfo failed")
        return 3, 10


def test_memory_of_a_gpu(tmp_path: Path) -> None:
    assert memory(Host(tmp_path), Gpu(answers=True)) == Memory(None, 7, 10)  # type: ignore[arg-type]
    assert memory(Host(tmp_path), Gpu(answers=False)) == Memory(None)  # type: ignore[arg-type]


def test_the_temperature_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = SimpleNamespace(
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTemperature=lambda handle, kind: 61 + handle + kind,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    read = gpu_temperature()
    assert read is not None and read() == 61.0
    del nvml.nvmlDeviceGetTemperature  # as of a driver that does not know it
    assert gpu_temperature() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_temperature() is None
