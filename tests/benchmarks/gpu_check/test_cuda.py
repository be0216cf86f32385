"""On the stand-in of cuda-python, which checks every address; on a GPU the step says what is true there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from xsam_edge.benchmarks.gpu_check import cuda
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, read
from xsam_edge.runtime.backends.cuda.calls import Cuda

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
    assert found["a run is captured"] is found["memory is given back within a capture"] is True
    assert found["the next capture"] is True
    assert found["another thread works while one waits"] in (True, False)
    assert cudart.nbytes() == 0


def test_a_run_that_cannot_be_captured_is_said(tmp_path: Path) -> None:
    class Unable(FakeCudart):
        def cudaStreamEndCapture(self, stream: Any) -> Any:  # noqa: N802
            return (901, super().cudaStreamEndCapture(stream)[1])

    found = measured(Unable(), tmp_path)
    assert found["a run is captured"] is found["the next capture"] is False


def test_a_wait_that_stops_other_threads_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to wait for, another thread gets no time worth the name."""
    monkeypatch.setattr(cuda.threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(cuda.threading.Thread, "join", lambda self: None)
    say = Recorder(tmp_path / RESULTS, "cuda")
    cuda._waiting(Cuda(FakeCudart()), say, replace(SIZES, waits=1))
    (record,) = read([say.path])
    assert record.value is False and record.note.startswith("0 counts a second")
