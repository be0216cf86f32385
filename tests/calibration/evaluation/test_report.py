from xsam_edge.calibration.evaluation.report import comparison_table, table
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


def test_comparison() -> None:
    first = Evaluation({"refer": REFER}, 1, (), 1)
    second = Evaluation({"refer": {**REFER, "ciou": 0.7, "giou": None}}, 1, (), 1)
    shared = {"n": 4, "masks": 3, "mean_iou": 0.5, "min_iou": None}
    assert comparison_table(first, second, {"refer": shared}).splitlines() == [
        "task   metric    first   second  difference",
        "refer  n         3       3",
        "refer  ciou      0.7500  0.7000  -0.0500",
        "refer  giou      0.5000  -",
        "refer  answered  1.0000  1.0000  +0.0000",
        "",
        "agreement of the two",
        "task   n  masks  mean_iou  min_iou",
        "refer  4  3      0.5000    -",
        "",
        "1 picture in 1 s",
    ]
