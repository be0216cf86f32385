"""What an export must have of memory is told apart from pages of files, which the system may take back."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from xsam_edge.export import memory
from xsam_edge.export.memory import MemoryWatch, PeakMemory, peak_memory

SIZE = 96 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_mapped_pages_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(SIZE))
    with MemoryWatch() as watch:
        before = watch.peak()
        with (tmp_path / "large").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert sum(mapped[:: mmap.PAGESIZE]) == 0
            read = watch.peak()
        own = np.ones(SIZE, np.uint8)
        held = watch.peak()
        del own
    assert read.own < before.own + SIZE // 2
    assert held.own > before.own + SIZE * 3 // 4
    assert watch.peak().own >= held.own  # what was freed was the peak
    assert all(peak.own <= peak.resident for peak in (before, read, held))


def test_where_the_system_does_not_tell_all_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    with MemoryWatch() as watch:
        peak = watch.peak()
    assert peak.own == peak.resident > 10**6


def test_both_are_told() -> None:
    text = "6.10 GB of memory at the peak, 8.00 GB with pages of files"
    assert peak_memory(PeakMemory(6_100_000_000, 8_000_000_000)) == text
