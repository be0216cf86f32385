"""The study's plan and what it makes of its measurements; a trial itself is an export and an evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

from xsam_edge.benchmarks.calibration_study import METHODS, Trial, draw, main, table, trials
from xsam_edge.calibration.open_data import open_data
from xsam_edge.calibration.shapes.dataset import SPLITS


def test_passes_of_statistics_are_shared_and_no_picture_is() -> None:
    wanted = list(trials((16, 512), 3))
    assert len(wanted) == len(set(wanted)) == 2 * 3 * 4 * 2
    passes = [trial.data for trial in wanted]
    assert passes == sorted(passes, key=passes.index) and len(set(passes)) == 6  # one after the other
    largest = [open_data(trial.data) for trial in wanted if trial.pictures == 512]
    assert {data.count(["refer"]) for data in largest} == {513}
    spans = sorted({tuple(data.describe()["seeds"]) for data in largest})
    assert len(spans) == 3 and all(one[1] < other[0] for one, other in pairwise(spans))
    assert SPLITS["calibration"].start <= spans[0][0] and spans[-1][1] < SPLITS["calibration"].stop


def test_a_figure_and_a_table_of_what_is_there() -> None:
    wanted = trials((16, 32), 2, METHODS[:2])
    lines = [{**asdict(trial), "refer": 0.9 + trial.choice / 100, "panoptic": 0.99} for trial in wanted]
    lines.append({**asdict(Trial(64, 0, "minmax", True)), "refer": 0.97, "panoptic": 0.98})
    rows = table(lines).splitlines()
    assert rows[0] == "| ranges | 16 | 32 | 64 |"
    assert rows[2] == "| minmax | 0.9050 / 0.9900 | 0.9050 / 0.9900 | 0.9700 / 0.9800 |"
    assert rows[3] == "| minmax, plain | 0.9050 / 0.9900 | 0.9050 / 0.9900 |  |"
    picture = draw(lines)
    assert picture.startswith("<svg") and "percentile-99.999, plain" in picture
    assert all(f">{size}</text>" in picture for size in (16, 32, 64))


def test_a_folder_of_another_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"model": "other", "precision": "int8", "scenes": 100}))
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "choose another folder" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]
