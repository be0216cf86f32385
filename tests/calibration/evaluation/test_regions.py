import numpy as np
import pytest

from tests.scripted import answer, block, lazy, one
from xsam_edge.calibration.data.samples import Regions, TrueSegment
from xsam_edge.calibration.evaluation.quality import Quality, count_masks
from xsam_edge.calibration.evaluation.regions import RegionMetrics
from xsam_edge.runtime.results.segment import Segment


def single(mask: np.ndarray, kind: str = "") -> Regions:
    return Regions((lazy(mask),), (TrueSegment(lazy(mask), 0),), False, kind)


def similar(prompts: int, *segments: tuple[np.ndarray, int] | tuple[np.ndarray, int, bool]) -> Regions:
    truth = tuple(TrueSegment(lazy(mask), *rest) for mask, *rest in segments)
    return Regions((lazy(block(0, 0, 1, 1)),) * prompts, truth, True)


def found(mask: np.ndarray, label: int, score: float = 0.9) -> Segment:
    return Segment.from_mask(mask, score, None, label)


def test_single_regions_by_kind() -> None:
    metrics = RegionMetrics()
    metrics.add(single(block(0, 0, 4, 4), "box"), one(block(0, 0, 4, 2)))
    metrics.add(single(block(0, 0, 2, 2), "point"), answer(answered=False))
    result = metrics.result()
    assert result == {
        "n": 2,
        "answered": 0.5,
        "n_interactive": 2,
        "miou": 0.25,
        "ciou": pytest.approx(8 / 20),
        "kinds": {"box": {"n": 1, "ciou": 0.5, "miou": 0.5}, "point": {"n": 1, "ciou": 0, "miou": 0}},
    }


def test_similar_objects_are_pooled_over_pictures_and_labels() -> None:
    metrics = RegionMetrics()
    ask = similar(2, (block(0, 0, 4, 4), 0), (block(4, 0, 8, 4), 1))
    metrics.add(ask, answer(found(block(0, 0, 4, 3), 0), found(block(0, 0, 4, 4), 1, 0.8)))  # match, surplus, miss
    metrics.add(similar(1, (block(0, 0, 2, 2), 0)), answer(found(block(0, 0, 2, 2), 0)))  # match
    result = metrics.result()
    assert result["sq"] == pytest.approx((12 / 16 + 1) / 2)
    assert result["rq"] == pytest.approx(2 / (2 + 0.5 + 0.5))
    assert result["pq"] == pytest.approx(result["sq"] * result["rq"])
    # By score: the two matches (0.9), then the surplus, of three truths: precision 1 up to recall 2/3.
    assert result["ap50"] == pytest.approx(67 / 101)
    assert result["n_similar"] == result["n"] == 2
    assert "miou" not in result


def test_low_scores_count_for_precision_only() -> None:
    metrics = RegionMetrics()
    metrics.add(similar(1, (block(0, 0, 4, 4), 0)), answer(found(block(0, 0, 4, 4), 0, 0.49)))
    assert metrics.result()["pq"] == 0
    assert metrics.result()["ap"] == pytest.approx(1)


def test_overlapping_masks_match_once_the_best_first() -> None:
    quality = Quality()
    truth = block(0, 0, 4, 4)
    count_masks(quality, [block(0, 0, 4, 3), truth, block(0, 0, 4, 5)], [truth])
    assert (quality.iou, quality.matched, quality.superfluous, quality.missed) == (1, 1, 2, 0)


def test_a_surplus_in_a_crowd_is_ignored() -> None:
    quality = Quality()
    count_masks(quality, [block(0, 0, 4, 4), block(0, 2, 4, 6)], [], [block(0, 0, 4, 4)])
    assert (quality.matched, quality.superfluous) == (0, 1), "half in the crowd is not enough"
