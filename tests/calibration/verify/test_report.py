import json

import numpy as np

from xsam_edge.calibration.verify.checks import Outcome
from xsam_edge.calibration.verify.compare import Comparison
from xsam_edge.calibration.verify.report import as_json, table

GOOD = Comparison("img_a", "tensor", "llm", "llm.logits", "floats", 100, True, 1e-6, 1e-7, bound=1e-4)
WORSE = Comparison("img_b", "tensor", "llm", "llm.logits", "floats", 100, True, 5e-5, 1e-5, bound=1e-4)
MASK = Comparison("img_b", "predict", "postprocess", "post.segmentation", "masks", 50, True, iou=0.999996, bound=0.9999)
BAD = Comparison("img_c", "predict", "prompt", "input_ids", "ids", 7, False, np.inf, np.inf, bound=0, note="shape")


def test_pass() -> None:
    lines = table(Outcome((GOOD, WORSE, MASK), {"img_a:x": 12, "img_b:y": 3})).splitlines()
    assert lines[-1] == "PASS: 250 values in 3 comparisons; 15 values of 2 keys were not compared"
    (stage,) = [line for line in lines if line.startswith("llm")]
    assert stage.split() == ["llm", "2", "200", "5.0e-05", "1.0e-05", "-", "ok", "img_b", "llm.logits"]
    assert "0.99999" in "".join(lines), "an IoU is never rounded up to 1"
    assert "FAIL" not in "".join(lines)


def test_failures_come_with_their_reason() -> None:
    lines = table(Outcome((GOOD, BAD), {})).splitlines()
    assert lines[-1].startswith("FAIL: 1 of 2 comparisons exceed their bounds; ")
    (row,) = [line for line in lines if line.endswith("FAIL  shape")]
    assert row.split()[:3] == ["img_c", "predict", "input_ids"]


def test_every_comparison_the_worst_first() -> None:
    lines = table(Outcome((GOOD, MASK, BAD, WORSE), {}), every=True).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["img_c", "img_b", "img_a", "img_b"]


def test_values_without_a_bound_are_counted() -> None:
    free = Comparison("img_a", "tensor", "llm", "llm.logits", "floats", 10, True, 0.1, 0.01)
    assert table(Outcome((free, GOOD), {})).splitlines()[-1].startswith("PASS: 110 values in 2 comparisons, 1 without")


def test_json_has_no_infinity() -> None:
    result = as_json(Outcome((GOOD, BAD), {"img_a:x": 12}))
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text)["comparisons"][1]["max_abs"] is None
    assert (result["ok"], result["failed"], result["compared_values"], result["skipped_values"]) == (False, 1, 107, 12)
