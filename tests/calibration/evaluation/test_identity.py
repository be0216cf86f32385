import numpy as np
import pytest

from xsam_edge.calibration.evaluation.identity import Identity
from xsam_edge.calibration.evaluation.tracked import TrackedTruth


def measure(*frames: tuple[str, str]) -> dict[str, float | int | None]:
    metric = Identity()
    for truth, given in frames:
        metric.add(TrackedTruth(truth, given, np.eye(len(truth), len(given))))
    return metric.result()


def test_one_identity_all_the_time() -> None:
    assert measure(("a", "x"), ("a", "x")) == {"idf1": 1.0, "id_precision": 1.0, "id_recall": 1.0, "idtp": 2}


def test_the_longer_part_counts() -> None:
    # Ten frames: x for seven of them, y for three.
    found = measure(*[("a", "x")] * 7, *[("a", "y")] * 3)
    assert found == {"idf1": pytest.approx(0.7), "id_precision": 0.7, "id_recall": 0.7, "idtp": 7}


def test_things_that_swap_in_the_middle() -> None:
    assert measure(*[("ab", "xy")] * 5, *[("ab", "yx")] * 5)["idf1"] == pytest.approx(0.5)


def test_pairs_are_chosen_together() -> None:
    # x shows a for 5 and b for 4 frames, y shows a for 4: x-b and y-a give 8, the best pair alone gives 5.
    frames = [("a", "x")] * 5 + [("b", "x")] * 4 + [("a", "y")] * 4
    assert measure(*frames)["idtp"] == 8


def test_misses_and_inventions() -> None:
    # Two of four appearances found, and two appearances of nothing: 2 * 2 / (4 + 4).
    found = measure(("a", "x"), ("a", "x"), ("a", ""), ("a", ""), ("", "z"), ("", "z"))
    assert (found["idf1"], found["id_precision"], found["id_recall"]) == (0.5, 0.5, 0.5)


def test_half_an_overlap_is_enough() -> None:
    for overlap, right in ((0.5, 1), (0.49, 0)):
        metric = Identity()
        metric.add(TrackedTruth("a", "x", np.array([[overlap]])))
        assert metric.result()["idtp"] == right


def test_nothing() -> None:
    assert measure() == {"idf1": None, "id_precision": None, "id_recall": None, "idtp": 0}
    assert measure(("", "x"))["idf1"] == 0.0
