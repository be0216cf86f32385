from math import sqrt

import numpy as np
import pytest

from xsam_edge.calibration.evaluation.hota import Hota
from xsam_edge.calibration.evaluation.tracked import TrackedTruth


def measure(*frames: tuple[str, str], overlap: float = 1.0) -> dict[str, float | None]:
    metric = Hota()
    for truth, given in frames:
        metric.add(TrackedTruth(truth, given, overlap * np.eye(len(truth), len(given))))
    return metric.result()


def test_all_is_right() -> None:
    assert measure(("ab", "xy"), ("ba", "yx")) == pytest.approx({"hota": 1, "deta": 1, "assa": 1})


def test_half_found() -> None:
    # Of ten appearances five are found: DetA is 5 / 10, and so is each match's association.
    found = measure(*[("a", "x")] * 5, *[("a", "")] * 5)
    assert found == pytest.approx({"hota": 0.5, "deta": 0.5, "assa": 0.5})


def test_an_identity_that_breaks() -> None:
    # Two halves: each match has 5 frames in common, of 10 of the thing and 5 of the track.
    found = measure(*[("a", "x")] * 5, *[("a", "y")] * 5)
    assert found == pytest.approx({"hota": sqrt(0.5), "deta": 1.0, "assa": 0.5})


def test_the_overlap_counts_in_steps() -> None:
    # 0.6 is enough for 12 of the 19 thresholds, 0.05 to 0.6.
    assert measure(("a", "x"), overlap=0.6) == pytest.approx({"hota": 12 / 19, "deta": 12 / 19, "assa": 12 / 19})


def test_nothing() -> None:
    assert measure() == {"hota": None, "deta": None, "assa": None}
    assert measure(("a", "")) == {"hota": 0.0, "deta": 0.0, "assa": 0.0}
    assert measure(("", "x"))["hota"] == 0.0
