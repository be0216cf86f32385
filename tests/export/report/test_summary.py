"""The lines for a terminal."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.export.report.sample_reports import EMPTY, FULL, GATE
from xsam_edge.export.report.facts import CalibrationFacts, RaisedNodes, Report, SizeFacts, StageFacts, WorstCase
from xsam_edge.export.report.summary import WIDTH, summary_lines

LONG = replace(
    FULL,
    precision="int8" * 40,
    notes=("a note " * 40, "another"),
    raised=tuple(RaisedNodes(f"/llm/model/layers.{index}/**", "fp16", "") for index in range(40)),
    sizes=tuple(SizeFacts(f"file-{index}", 10**13, 10**14) for index in range(40)),
    worst=(WorstCase("refer", "p" * 200, "q" * 200, 0.1),),
)


@pytest.mark.parametrize("report", [FULL, EMPTY, LONG], ids=["full", "empty", "long"])
def test_a_few_lines_of_hundred_columns(report: Report) -> None:
    lines = summary_lines(report)
    assert 3 <= len(lines) <= 11
    assert all(len(line) <= WIDTH and line.isprintable() for line in lines)


def test_figures() -> None:
    text = "\n".join(summary_lines(FULL))
    for figure in (
        "Masks hold: Mean mask IoU with FP32 is 0.9874 ± 0.0013; the bound is 0.9700",
        "731 masks on 64 pictures; 99.3% of tokens equal",
        "refer 0.991, panoptic 0.964",
        "0.200: reason 'what rolls' on scene-8",
        "3.0 MB, 0.25 of FP32 (llm 0.25, tokenizer 1.00)",
        "lowest SQNR 24.3 dB, logits of llm",
        "9 of 12 products quantised in 4 blocks; 1 raised: /llm/model/layers.0/mlp/** to fp16",
        "largest value 20,480 of 65,504 on 4 pictures; 2 nodes given FP32 for values from",
        "256 samples of shapes, percentile-99.999, from the cache; 1 image could not be read",
        "52 min, 6.10 GB of memory at the peak, 11.40 GB with pages of files",
    ):
        assert figure in text


def test_a_graph_and_its_weights_are_one_size() -> None:
    sizes = (SizeFacts("llm.onnx", 2, 2), SizeFacts("llm.onnx.data", 2, 8), SizeFacts("decoder.onnx", 1, 20))
    line = next(line for line in summary_lines(replace(FULL, sizes=sizes)) if line.startswith("size"))
    assert line.endswith("5 B, 0.17 of FP32 (decoder 0.05, llm 0.40)")


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (replace(FULL, gate=replace(GATE, mean_iou=0.91, passed=False), degraded=True), "Degraded: Mean mask IoU"),
        (replace(FULL, gate=replace(GATE, mean_iou=0.91, passed=False)), "Masks do not hold"),
        (replace(FULL, gate=None), "Not measured"),
        (replace(FULL, gate=None, degraded=True), "Degraded"),
    ],
)
def test_verdicts(report: Report, title: str) -> None:
    line = summary_lines(report)[0]
    assert title in line
    assert line.endswith(".")
    assert not line.endswith("...")


def test_control_characters_stay_out_of_the_terminal() -> None:
    report = replace(FULL, worst=(WorstCase("refer", "a\x1b[2Jb\nc", "x\ry", 0.1),), notes=("one\x1b[31m\ntwo",))
    assert all(line.isprintable() for line in summary_lines(report))


def test_outputs_without_a_number_are_not_the_lowest() -> None:
    stages = (StageFacts("llm", "logits", None, None), StageFacts("llm", "kept", math.nan, None), FULL.stages[0])
    assert any("lowest SQNR 24.3 dB" in line for line in summary_lines(replace(FULL, stages=stages)))
    same = (StageFacts("llm", "logits", math.inf, 1.0),)
    assert any("lowest SQNR identical" in line for line in summary_lines(replace(FULL, stages=same)))


def test_an_export_without_data_has_no_line_of_calibration() -> None:
    lines = summary_lines(replace(EMPTY, calibration=CalibrationFacts("", 0)))
    assert not any(line.startswith("calibration") for line in lines)
    assert any(line.startswith("calibration") for line in summary_lines(EMPTY))


def test_one_picture_has_no_standard_error() -> None:
    single = "\n".join(summary_lines(replace(FULL, gate=replace(GATE, pictures=1))))
    assert "on a single picture" in single and "±" not in single
    assert "±" in "\n".join(summary_lines(FULL))
