from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.samples import Task
from xsam_edge.calibration.evaluation.rejection import OperatingPoint, Share
from xsam_edge.calibration.evaluation.report import comparison_table, table, written_rules
from xsam_edge.calibration.evaluation.run import Evaluation

REFER = {
    "n": 3,
    "ciou": 0.75,
    "giou": 0.5,
    "answered": 1.0,
    "kinds": {"colour": {"n": 2, "ciou": 0.25, "giou": 0.125}},
    "absent": {"n": 1, "mean_score": 0.0625, "roc_area": None},
}
PANOPTIC = {"n": 10, "pq": 0.8, "per_category": {"cat": {"pq": 0.8}}}


def test_table() -> None:
    text = table(Evaluation({"refer": REFER, "panoptic": PANOPTIC}, 11, ("a.jpg",), 61.4))
    assert text.splitlines() == [
        "refer     n 3   ciou 0.7500        giou 0.5000  answered 1.0000",
        "  colour  n 2   ciou 0.2500        giou 0.1250",
        "  absent  n 1   mean_score 0.0625  roc_area -",
        "panoptic  n 10  pq 0.8000",
        "",
        "1 image could not be read: a.jpg",
        "11 pictures in 61 s",
    ]


def test_segments_without_a_pixel_have_a_line() -> None:
    text = table(Evaluation({"panoptic": {**PANOPTIC, "without_pixels": 2}}, 11, (), 61.4))
    assert text.splitlines() == [
        "panoptic  n 10  pq 0.8000",
        "",
        "2 annotated segments have no pixel in the map and were left out of panoptic",
        "11 pictures in 61 s",
    ]
    assert "segment" not in table(Evaluation({"panoptic": {**PANOPTIC, "without_pixels": 0}}, 11, (), 61.4))


def counted(n: int, of: int) -> dict[str, Any]:
    return Share(n, of).to_json()


def test_what_thresholds_do() -> None:
    point = {"threshold": 0.75, "false_alarms": counted(1, 20), "hits": counted(9, 10)}
    unused = {"n": 20, "n_present": 10, "roc": [point], "at": {"0.01": None, "0.05": point}}
    used = {**unused, "in_use": {**point, "hits": counted(0, 0), "gres": {"n_acc": 0.95}}}
    text = table(Evaluation({"refer": {"n": 10, "absent": unused}, "reason": {"n": 0, "absent": used}}, 1, (), 1))
    assert text.splitlines() == [
        "refer     n 10",
        "  absent  n 20  n_present 10",
        "reason    n 0",
        "  absent  n 20  n_present 10",
        "",
        "rejection                threshold  false alarms: absent, but found  hits: there, and found",
        "refer, 1% false alarms   none",
        "refer, 5% false alarms   0.7500     1 of 20, 5.0% (0.9 to 23.6%)     9 of 10, 90.0% (59.6 to 98.2%)",
        "reason, 1% false alarms  none",
        "reason, 5% false alarms  0.7500     1 of 20, 5.0% (0.9 to 23.6%)     9 of 10, 90.0% (59.6 to 98.2%)",
        "reason, in use           0.7500     1 of 20, 5.0% (0.9 to 23.6%)     -",
        "in brackets: 95% intervals",
        "",
        "1 picture in 1 s",
    ]
    both = Evaluation({"refer": {"n": 10, "absent": unused}}, 1, (), 1)
    lines = comparison_table(both, both, {}, {}).splitlines()
    assert [line.split("  ")[0] for line in lines if "5% false" in line] == [
        f"refer, {which}, 5% false alarms" for which in ("first", "second")
    ]


def test_written_rules() -> None:
    point = OperatingPoint(0.75, Share(1, 20), Share(9, 10))
    assert written_rules(Path("fp32/manifest.json"), {"reason": point}).splitlines() == [
        "written into fp32/manifest.json",
        "task    absent below  false alarms                  hits",
        "reason  0.7500        1 of 20, 5.0% (0.9 to 23.6%)  9 of 10, 90.0% (59.6 to 98.2%)",
    ]


def test_comparison() -> None:
    first = Evaluation({"refer": REFER}, 1, (), 1)
    second = Evaluation({"refer": {**REFER, "ciou": 0.7, "giou": None}}, 1, (), 1)
    shared = {"n": 4, "masks": 3, "mean_iou": 0.5, "min_iou": None}
    sure: dict[Task, dict[str, Any]] = {"refer": {"ciou": {"difference": -0.05, "low": -0.08, "high": 0.01}}}
    assert comparison_table(first, second, {"refer": shared}, sure).splitlines() == [
        "task   metric    first   second  difference  95% interval",
        "refer  n         3       3",
        "refer  ciou      0.7500  0.7000  -0.0500     -0.0800 to +0.0100",
        "refer  giou      0.5000  -",
        "refer  answered  1.0000  1.0000  +0.0000",
        "",
        "agreement of the two",
        "task   n  masks  mean_iou  min_iou",
        "refer  4  3      0.5000    -",
        "",
        "1 picture in 1 s",
    ]
