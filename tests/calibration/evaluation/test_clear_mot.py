from typing import Any

import numpy as np
import pytest

from xsam_edge.calibration.evaluation.clear_mot import ClearMot
from xsam_edge.calibration.evaluation.tracked import TrackedTruth


def measure(*frames: tuple[str, str, Any]) -> dict[str, Any]:
    """Of frames (truth, tracks, overlaps); a letter is an identity, and without overlaps same places are the same."""
    metric = ClearMot()
    for truth, given, overlap in frames:
        array = np.eye(len(truth), len(given)) if overlap is None else np.array(overlap, float)
        metric.add(TrackedTruth(truth, given, array.reshape(len(truth), len(given))))
    return metric.result()


def test_all_is_right() -> None:
    found = measure(("ab", "xy", None), ("ba", "yx", None))
    assert found == {"mota": 1.0, "motp": 1.0, "misses": 0, "false_positives": 0, "switches": 0, "things": 4}


def test_each_mistake_counts_once() -> None:
    # A miss, a false positive and a switch, of six appearances.
    found = measure(("ab", "xy", None), ("ab", "x", None), ("ab", "xzw", None))
    assert (found["misses"], found["false_positives"], found["switches"]) == (1, 1, 1)
    assert found["mota"] == pytest.approx(1 - 3 / 6)


def test_a_switch_is_found_behind_a_gap() -> None:
    assert measure(("a", "x", None), ("a", "", None), ("a", "y", None))["switches"] == 1
    assert measure(("a", "x", None), ("a", "", None), ("a", "x", None))["switches"] == 0


def test_tracks_that_change_places_are_two_switches() -> None:
    assert measure(("ab", "xy", None), ("ab", "yx", None))["switches"] == 2


def test_a_pair_is_kept_while_it_overlaps_enough() -> None:
    kept = measure(("a", "x", None), ("a", "xy", [0.5, 0.9]))
    assert (kept["switches"], kept["false_positives"], kept["motp"]) == (0, 1, pytest.approx(0.75))
    lost = measure(("a", "x", None), ("a", "xy", [0.49, 0.9]))
    assert (lost["switches"], lost["motp"]) == (1, pytest.approx(0.95))


def test_more_than_all_can_be_wrong() -> None:
    assert measure(("a", "xyz", [0, 0, 0]))["mota"] == -3.0


def test_nothing() -> None:
    assert measure() == {"mota": None, "motp": None, "misses": 0, "false_positives": 0, "switches": 0, "things": 0}
    assert measure(("", "x", None))["mota"] is None
