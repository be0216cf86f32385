"""On the stand-in of cuda-python, which checks every address; on a GPU the step says what is true there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from xsam_edge.benchmarks.gpu_check import cuda
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, read
from xsam_edge.runtime.backends.tensorrt.cuda import Cuda

SIZES = cuda.Sizes(image=4096, row=64, layers=4, distance=1024, waited=4096, waits=2, repeat=3)


def measured(cudart: Any, folder: Path) -> dict[str, Any]:
    say = Recorder(folder / RESULTS, "cuda")
    cuda.measure(Cuda(cudart), say, SIZES)
    return {record.name: record.value for record in read([say.path])}


def test_everything_is_measured_and_given_back(tmp_path: Path) -> None:
    cudart = FakeCudart()
    found = measured(cudart, tmp_path)
    assert found["devices"] == 1 and found["addresses are aligned to 256 bytes"] is True
    for name in ("upload of both pictures", "download of both pictures", "2-D copy", "2-D clearing"):
        assert found[name] > 0
    assert found["a capture is replayed"] is True
    assert found["cudaFree inside a capture"] == found["that capture ends"] == found["the next capture"] == "works"
    assert found["another thread works while one waits"] in (True, False)
    assert cudart.nbytes() == 0


def test_a_capture_that_does_not_survive_is_said(tmp_path: Path) -> None:
    class Strict(FakeCudart):
        """As a driver that ends a capture in which memory is freed."""

        broken = False

        def cudaFree(self, address: int) -> Any:  # noqa: N802
            if self._capture is not None:
                self.broken = True
                return (900,)
            return super().cudaFree(address)

        def cudaStreamEndCapture(self, stream: Any) -> Any:  # noqa: N802
            code, graph = super().cudaStreamEndCapture(stream)
            broken, self.broken = self.broken, False
            return (901 if broken else code, graph)

    found = measured(Strict(), tmp_path)
    assert found["cudaFree inside a capture"] == "cudaFree failed: cudaErrorOther"
    assert found["that capture ends"].startswith("cudaStreamEndCapture failed")
    assert found["the next capture"] == "works"


def test_a_wait_that_stops_other_threads_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to wait for, another thread gets no time worth the name."""
    monkeypatch.setattr(cuda.threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(cuda.threading.Thread, "join", lambda self: None)
    say = Recorder(tmp_path / RESULTS, "cuda")
    cuda._waiting(Cuda(FakeCudart()), say, replace(SIZES, waits=1))
    (record,) = read([say.path])
    assert record.value is False and record.note.startswith("0 counts a second")
