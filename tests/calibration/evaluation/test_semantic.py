import numpy as np
import pytest

from tests.scripted import SIZE, answer, block, lazy
from xsam_edge.calibration.data.samples import Categories, TrueSegment
from xsam_edge.calibration.evaluation.semantic import SemanticMetrics
from xsam_edge.runtime.results.result import Result

NAMES = ("cat", "sky", "road", "sea")


def categories(truth: np.ndarray) -> Categories:
    segments = tuple(TrueSegment(lazy(truth == label), int(label)) for label in np.unique(truth) if label >= 0)
    return Categories("semantic", NAMES, 1, segments)


def test_random_maps_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    metrics = SemanticMetrics(NAMES)
    maps = [(rng.integers(-1, 3, SIZE), rng.integers(0, 3, SIZE).astype(np.int32)) for _ in range(5)]
    for truth, found in maps:
        metrics.add(categories(truth), Result("genseg", (), SIZE, id_map=found))
    truth, found = (np.stack(part) for part in zip(*maps, strict=True))
    found = np.where(truth < 0, -1, found)
    ious = [
        ((truth == label) & (found == label)).sum() / ((truth == label) | (found == label)).sum() for label in range(3)
    ]
    result = metrics.result()
    assert result["miou"] == pytest.approx(np.mean(ious))
    assert result["per_category"] == pytest.approx(dict(zip(NAMES, ious, strict=False))), "the sea is nowhere"
    assert result["n"] == 5


def test_unjudged_pixels_are_no_surplus() -> None:
    truth = np.where(block(0, 0, 4, 10), 0, -1)
    metrics = SemanticMetrics(NAMES)
    metrics.add(categories(truth), Result("genseg", (), SIZE, id_map=np.where(truth == 0, 0, 3).astype(np.int32)))
    assert metrics.result()["per_category"] == {"cat": 1}


def test_no_answer_has_no_category() -> None:
    metrics = SemanticMetrics(NAMES)
    metrics.add(categories(np.zeros(SIZE, int)), answer(answered=False))
    assert metrics.result()["per_category"] == {"cat": 0}
    assert metrics.result()["answered"] == 0


def test_later_segments_hide_earlier_ones() -> None:
    ask = Categories(
        "semantic", NAMES, 1, (TrueSegment(lazy(np.ones(SIZE, bool)), 1), TrueSegment(lazy(block(0, 0, 4, 10)), 0))
    )
    metrics = SemanticMetrics(NAMES)
    metrics.add(ask, Result("genseg", (), SIZE, id_map=np.where(block(0, 0, 4, 10), 0, 1).astype(np.int32)))
    assert metrics.result()["miou"] == 1
