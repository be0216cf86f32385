from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.doctor.readings import Memory, memory, temperatures


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
