from typing import Any

import numpy as np
import pytest

from tests.scripted import SIZE, answer, block, lazy, one
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.calibration.evaluation.phrases import PhraseMetrics
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


def judged(threshold: float | str = "official") -> dict[str, Any]:
    """Two present phrases, one of which is not found, and four absent ones, one of which is."""
    metrics = PhraseMetrics(threshold)  # type: ignore[arg-type]
    metrics.add(phrase(block(0, 0, 4, 4)), one(block(0, 0, 4, 4), score=0.8))
    metrics.add(phrase(block(0, 0, 4, 4)), answer(best_score=0.4))
    metrics.add(phrase(None), one(block(0, 0, 8, 8), score=0.6))
    metrics.add(phrase(None), answer(best_score=0.4))
    metrics.add(phrase(None), answer(best_score=0.2))
    metrics.add(phrase(None), answer(answered=False))
    return metrics.result()


def test_absent_phrases_are_judged_by_the_best_score() -> None:
    result = judged()
    assert (result["n"], result["ciou"], result["giou"]) == (2, 0.5, 0.5), "of the present ones"
    assert result["answered"] == pytest.approx(5 / 6)
    absent = result["absent"]
    assert {name: absent[name] for name in ("n", "n_present")} == {"n": 4, "n_present": 2}
    assert absent["mean_score"] == pytest.approx(0.3)
    assert absent["present_mean_score"] == pytest.approx(0.6)
    assert absent["roc_area"] == pytest.approx((4 + 2.5) / 8), "without a <SEG> the score is 0"
    assert "in_use" not in absent
    # A rate of 5% of four asks is none: the threshold is just above the highest score.
    point = absent["at"]["0.05"]
    assert point["threshold"] == np.nextafter(np.float32(0.6), np.float32(1))
    assert (point["false_alarms"]["n"], point["hits"]["n"], point["hits"]["of"]) == (0, 1, 2)
    assert [(item["false_alarms"], item["hits"]) for item in absent["roc"]] == [
        (0, 0.5),
        (0.25, 0.5),
        (0.5, 1),
        (0.75, 1),
        (1, 1),
    ]


def test_a_threshold_in_use_is_judged_as_in_gres() -> None:
    used = judged(0.5)["absent"]["in_use"]
    assert used["threshold"] == 0.5
    assert (used["false_alarms"]["n"], used["false_alarms"]["of"], used["false_alarms"]["rate"]) == (1, 4, 0.25)
    assert (used["hits"]["n"], used["hits"]["of"]) == (1, 2)
    # Refused absent phrases have an IoU of 1; 16 pixels are found of 16 and 16 true ones and 64 false ones.
    assert used["gres"] == {"n_acc": 0.75, "t_acc": 0.5, "ciou": 16 / 96, "giou": pytest.approx(4 / 6)}


def test_nothing_but_absent_phrases_has_no_iou() -> None:
    metrics = PhraseMetrics()
    metrics.add(phrase(None), answer())
    result = metrics.result()
    assert result["ciou"] is result["giou"] is result["absent"]["roc_area"] is None
    assert result["absent"]["roc"] == []
    assert result["absent"]["at"]["0.01"]["hits"] == {"n": 0, "of": 0, "rate": None, "low": None, "high": None}


def test_a_truth_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="another image"):
        PhraseMetrics().add(phrase(np.ones((3, 3), bool)), one(block(0, 0, 1, 1)))
