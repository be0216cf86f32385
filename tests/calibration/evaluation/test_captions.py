import numpy as np
import pytest

from tests.scripted import SIZE, answer, block, lazy
from xsam_edge.calibration.data.samples import Caption
from xsam_edge.calibration.evaluation.captions import CaptionMetrics, text_similarity
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

LEFT, RIGHT, TOP = block(0, 0, 8, 4), block(0, 6, 8, 10), block(0, 0, 2, 10)


def caption(**phrases: np.ndarray) -> Caption:
    names = tuple(name.replace("_", " ") for name in phrases)
    return Caption("...", names, tuple(lazy(mask) for mask in phrases.values()))


def generated(*phrases: tuple[str, np.ndarray]) -> Result:
    return answer(*(Segment.from_mask(mask, 0.9, text, index) for index, (text, mask) in enumerate(phrases)))


def judged(ask: Caption, result: Result) -> dict:
    metrics = CaptionMetrics()
    metrics.add(ask, result)
    return metrics.result()


@pytest.mark.parametrize(
    ("first", "second", "similarity"),
    [
        ("a red ball", "The red ball.", 1),
        ("red ball", "blue ball", 0.5),
        ("the small red ball", "ball", 0.5),
        ("cat", "dog", 0),
        ("the", "the", 0),
        ("", "", 0),
    ],
)
def test_text_similarity(first: str, second: str, similarity: float) -> None:
    assert text_similarity(first, second) == pytest.approx(similarity)


def test_recall_needs_text_and_mask() -> None:
    ask = caption(a_red_ball=LEFT, the_sky=TOP, a_dog=RIGHT)
    result = judged(ask, generated(("red ball", LEFT), ("the sky", RIGHT), ("a dog", block(0, 9, 8, 10))))
    assert result["recall"] == pytest.approx(1 / 3)
    assert result["precision"] == pytest.approx(1 / 3)
    assert result["exact"] == pytest.approx(2 / 3), "'red ball' lacks the article"


def test_a_pair_of_other_text_is_passed_over() -> None:
    """The best overlap has another text; the second best fits."""
    ask = caption(a_ball=LEFT)
    result = judged(ask, generated(("grass", LEFT), ("ball", block(0, 0, 8, 3))))
    assert result["recall"] == 1
    assert result["precision"] == 0.5
    assert result["miou"] == 1, "masks are paired whatever their text"


def test_phrases_match_once() -> None:
    result = judged(caption(ball=LEFT), generated(("ball", LEFT), ("ball", LEFT)))
    assert (result["recall"], result["precision"], result["exact"]) == (1, 0.5, 1)


def test_mean_iou_is_of_pairs_then_of_pictures() -> None:
    metrics = CaptionMetrics()
    metrics.add(caption(one=LEFT, two=RIGHT), generated(("x", block(0, 0, 8, 2))))  # 0.5; the other has no pair
    metrics.add(caption(one=LEFT), answer(answered=False))
    result = metrics.result()
    assert result["miou"] == pytest.approx(0.25)
    assert (result["n"], result["answered"], result["recall"], result["precision"]) == (2, 0.5, 0, 0)


def test_no_phrase_at_all() -> None:
    assert judged(Caption("", (), ()), answer(size=SIZE))["recall"] is None
