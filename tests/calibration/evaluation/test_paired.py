from __future__ import annotations

import numpy as np
import pytest

from tests.scripted import answer, block, id_map, lazy
from xsam_edge.calibration.data.samples import Categories, Phrase, TrueSegment
from xsam_edge.calibration.evaluation.overlap import Overlaps
from xsam_edge.calibration.evaluation.paired import PictureCounts, differences
from xsam_edge.calibration.evaluation.panoptic import PanopticMetrics
from xsam_edge.runtime.results.segment import Segment


def test_sums_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    first, second, sums = PictureCounts(), PictureCounts(), (Overlaps(), Overlaps())
    for picture in range(30):
        truth = block(2, 2, 6, 6)
        for counts, overlaps, most in ((first, sums[0], 2), (second, sums[1], 4)):
            found = block(2 + int(rng.integers(0, most)), 2, 6, 6)
            segment = Segment.from_mask(found, 0.9, "x")
            counts.watch(f"p{picture}", 0, Phrase("refer", "x", lazy(truth)), answer(segment))
            both = int((found & truth).sum())
            overlaps.add(both, int((found | truth).sum()))
    told = differences(first, second)["refer"]
    for name, value in (("ciou", "cumulative"), ("giou", "mean")):
        assert told[name]["difference"] == pytest.approx(getattr(sums[1], value) - getattr(sums[0], value))
        assert told[name]["low"] < told[name]["difference"] < told[name]["high"] < 0
    assert differences(first, first)["refer"]["ciou"] == {"difference": 0, "low": 0, "high": 0}


def test_an_interval_is_that_of_a_mean() -> None:
    """Of IoUs that differ by noise of a known deviation, the interval is two standard errors to each side."""
    rng = np.random.default_rng(1)
    first, second = PictureCounts(), PictureCounts()
    for picture in range(400):
        first.counts["refer"][f"p{picture}"] = np.array([50.0, 100.0, 0.5, 1.0])
        second.counts["refer"][f"p{picture}"] = np.array([50.0, 100.0, 0.5 + 0.1 * rng.standard_normal(), 1.0])
    told = differences(first, second)["refer"]["giou"]
    assert (told["high"] - told["low"]) / 2 == pytest.approx(1.96 * 0.1 / 20, rel=0.15)


def test_panoptic_quality_and_pictures_of_one_side() -> None:
    left, right = block(0, 0, 4, 4), ~block(0, 0, 4, 4)
    ask = Categories("panoptic", ("a", "b"), 1, (TrueSegment(lazy(left), 0), TrueSegment(lazy(right), 1)))
    whole, part = (
        id_map(Segment.from_mask(mask, 0.9, "a", 0), Segment.from_mask(~mask, 0.9, "b", 1))
        for mask in (left, block(0, 0, 4, 3))
    )
    first, second = PictureCounts(), PictureCounts()
    metrics = PanopticMetrics(ask.names, 1), PanopticMetrics(ask.names, 1)
    for picture in range(10):
        for counts, summed, result in (
            (first, metrics[0], whole),
            (second, metrics[1], part if picture % 2 else whole),
        ):
            counts.watch(f"p{picture}", 0, ask, result)
            summed.add(ask, result)
    first.watch("alone", 0, ask, whole)
    told = differences(first, second)
    wanted = metrics[1].result()["pq"] - metrics[0].result()["pq"]
    assert told["panoptic"]["pq"]["difference"] == pytest.approx(wanted)
    assert told["panoptic"]["pq"]["low"] < wanted < told["panoptic"]["pq"]["high"] <= 0
    assert set(told) == {"panoptic"} and differences(PictureCounts(), second) == {}
