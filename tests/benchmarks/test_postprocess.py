from __future__ import annotations

import pytest

from xsam_edge.benchmarks import postprocess


def test_every_task_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["panoptic", "region", "--size", "60", "40", "--queries", "5"]
    assert postprocess.main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["panoptic", "region"]
    assert all("above it" in line for line in lines)


@pytest.mark.parametrize("task", postprocess.TASKS)
def test_what_is_returned_and_what_is_above(task: str) -> None:
    seconds, held, above = postprocess.measure(task, (40, 60), 5)
    assert seconds >= 0 and held > 0 and above >= 0


def test_an_unknown_task_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert postprocess.main(["panoptics"]) == 2
    assert "choose" in capsys.readouterr().err
