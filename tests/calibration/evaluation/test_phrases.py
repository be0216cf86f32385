import itertools

import numpy as np
import pytest

from tests.scripted import SIZE, answer, block, lazy, one
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.calibration.evaluation.phrases import PhraseMetrics, roc_area
from xsam_edge.runtime.errors import InputError


def phrase(mask: np.ndarray | None, kind: str = "", **fields: object) -> Phrase:
    return Phrase("refer", "a", None if mask is None else lazy(mask), kind, **fields)


def test_cumulative_and_mean_iou_by_hand() -> None:
    metrics = PhraseMetrics()
    metrics.add(phrase(block(0, 0, 4, 4), "colour"), one(block(0, 0, 4, 2)))  # 8 of 16
    metrics.add(phrase(block(0, 0, 1, 4), "size"), one(block(0, 0, 1, 4)))  # 4 of 4
    metrics.add(phrase(block(0, 0, 1, 4), "size"), answer(answered=False))  # 0 of 4
    result = metrics.result()
    assert result["n"] == 3
    assert result["ciou"] == pytest.approx(12 / 24)
    assert result["giou"] == pytest.approx(1.5 / 3)
    assert result["answered"] == pytest.approx(2 / 3)
    assert result["kinds"] == {
        "colour": {"n": 1, "ciou": 0.5, "giou": 0.5},
        "size": {"n": 2, "ciou": 0.5, "giou": 0.5},
    }
    assert "absent" not in result


def test_an_empty_answer_to_an_empty_truth_is_right() -> None:
    metrics = PhraseMetrics()
    metrics.add(phrase(np.zeros(SIZE, bool)), answer())
    assert metrics.result()["giou"] == metrics.result()["ciou"] == 1
    metrics.add(phrase(np.zeros(SIZE, bool)), one(block(0, 0, 1, 1)))
    assert metrics.result()["giou"] == 0.5
    assert metrics.result()["ciou"] == 0


def test_ignored_pixels_count_for_nothing() -> None:
    metrics = PhraseMetrics()
    ignored = phrase(block(0, 0, 4, 4), ignore=lazy(block(0, 2, 8, 10)))
    metrics.add(ignored, one(block(0, 0, 2, 10)))
    assert metrics.result()["ciou"] == pytest.approx(4 / 8)


def test_absent_phrases_are_judged_by_score_only() -> None:
    metrics = PhraseMetrics()
    metrics.add(phrase(block(0, 0, 4, 4)), one(block(0, 0, 4, 4), score=0.8))
    metrics.add(phrase(block(0, 0, 4, 4)), one(block(0, 0, 4, 4), score=0.4))
    metrics.add(phrase(None), one(block(0, 0, 8, 8), score=0.4))
    metrics.add(phrase(None), answer(answered=False))
    result = metrics.result()
    assert (result["n"], result["ciou"], result["giou"], result["answered"]) == (2, 1, 1, 0.75)
    assert result["absent"] == {
        "n": 2,
        "mean_score": pytest.approx(0.2),
        "present_mean_score": pytest.approx(0.6),
        "roc_area": pytest.approx((1 + 1 + 0.5 + 1) / 4),
    }


def test_roc_area_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 8, 30) / 8, rng.integers(0, 6, 20) / 8
    pairs = [(p > n) + (p == n) / 2 for p, n in itertools.product(positive, negative)]
    assert roc_area(positive, negative) == pytest.approx(np.mean(pairs))
    assert roc_area(positive, []) is None
    assert roc_area([], negative) is None


def test_nothing_but_absent_phrases_has_no_iou() -> None:
    metrics = PhraseMetrics()
    metrics.add(phrase(None), answer())
    assert metrics.result()["ciou"] is metrics.result()["giou"] is metrics.result()["absent"]["roc_area"] is None


def test_a_truth_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="another image"):
        PhraseMetrics().add(phrase(np.ones((3, 3), bool)), one(block(0, 0, 1, 1)))
