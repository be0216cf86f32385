from pathlib import Path

import pytest
import torch

from xsam_edge.benchmarks.gpu_check import roof
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, read
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.benchmarks.gpu_check.timing import timed


def test_rates_and_rows(tmp_path: Path) -> None:
    say = Recorder(tmp_path / RESULTS, "roof")
    roof.run(Setting("cpu", tmp_path), say)
    found = {record.name: record for record in read([say.path])}
    assert {found[f"{kind} matrix product"].unit for kind in ("fp16", "tf32", "fp32")} == {"TFLOP/s"}
    assert found["copy"].value > 0 and {"layer 96 x 512, 1 rows", "layer 96 x 512, 24 rows"} <= found.keys()
    assert not torch.backends.cuda.matmul.allow_tf32


def test_the_roof_of_graphs_is_measured_now(tmp_path: Path) -> None:
    peaks = roof.measured(Setting("cpu", tmp_path))
    assert peaks.precision == "fp16" and peaks.flops_per_second > 1e6 and peaks.bytes_per_second > 1e6
    assert peaks.limit_ms(peaks.flops_per_second, 0) == (pytest.approx(1e3), "compute")


def test_a_time_is_the_median_behind_a_run_that_does_not_count() -> None:
    runs: list[int] = []
    time = timed(lambda: runs.append(1), "cpu", 4)
    assert len(runs) == 5 and time.eager_ms >= 0 and time.replayed_ms is None and time.best_ms == time.eager_ms
