import numpy as np
import pytest

from tests.scripted import SIZE, answer, block, lazy, one
from xsam_edge.calibration.data.samples import Ask, Caption, Categories, Phrase, Regions
from xsam_edge.calibration.evaluation.agreement import Agreement, Recorder
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

MASK = block(0, 0, 4, 4)
PHRASE = Phrase("refer", "a cat", lazy(MASK))
INSTANCES = Categories("instances", ("cat", "dog"), 2, ())


def compared(ask: Ask, first: Result, second: Result) -> dict:
    recorder = Recorder()
    recorder.watch("one", 0, ask, first)
    agreement = Agreement(recorder)
    agreement.watch("one", 0, ask, second)
    return agreement.result()[ask.task]


def found(mask: np.ndarray, score: float = 0.9, label: int = 0) -> Segment:
    return Segment.from_mask(mask, score, None, label)


def test_phrases_compare_their_mask_and_text() -> None:
    recorder = Recorder()
    agreement = Agreement(recorder)
    for number, (first, second) in enumerate(
        [
            (one(MASK, text="It is.", token_ids=(5, 6)), one(MASK, text="It is.", token_ids=(5, 6))),
            (one(MASK, text="a", token_ids=(7, 8)), one(block(0, 0, 4, 2), text="b", token_ids=(7, 9, 8))),
        ]
    ):
        recorder.watch("one", number, PHRASE, first)
        agreement.watch("one", number, PHRASE, second)
    masks = {"n": 2, "masks": 2, "mean_iou": 0.75, "min_iou": 0.5, "share_95": 0.5}
    assert agreement.result() == {"refer": {**masks, "equal_text": 0.5, "equal_tokens": 0.6}}


def test_no_mask_agrees_with_no_mask_only() -> None:
    assert compared(PHRASE, answer(), answer())["mean_iou"] == 1
    assert compared(PHRASE, answer(), one(MASK))["mean_iou"] == 0


def test_appended_answers_have_no_text_to_compare() -> None:
    result = compared(PHRASE, one(MASK), one(MASK))
    assert (result["equal_text"], result["equal_tokens"]) == (None, None)


def test_segments_pair_by_label() -> None:
    result = compared(INSTANCES, answer(found(MASK), found(~MASK, label=1)), answer(found(~MASK, label=1), found(MASK)))
    assert (result["masks"], result["min_iou"]) == (2, 1)
    result = compared(INSTANCES, answer(found(MASK)), answer(found(MASK, label=1)))
    assert (result["masks"], result["mean_iou"]) == (2, 0), "both are alone"


def test_a_score_may_cross_the_threshold() -> None:
    assert compared(INSTANCES, answer(found(MASK, 0.51)), answer(found(MASK, 0.49)))["mean_iou"] == 1
    assert compared(INSTANCES, answer(found(MASK, 0.9)), answer(found(MASK, 0.1)))["mean_iou"] == 0


def test_unsure_segments_are_not_compared() -> None:
    result = compared(INSTANCES, answer(found(MASK, 0.4)), answer(found(~MASK, 0.4), found(MASK, 0.1)))
    assert (result["masks"], result["mean_iou"], result["min_iou"], result["share_95"]) == (0, None, None, None)


def test_similar_regions_pair_and_single_ones_compare_whatever_their_score() -> None:
    similar = Regions((lazy(MASK),), (), True)
    assert compared(similar, answer(found(MASK), found(~MASK)), answer(found(~MASK), found(MASK)))["masks"] == 2
    single = Regions((lazy(MASK),), (), False)
    assert compared(single, answer(found(MASK, 0.1)), answer(found(MASK, 0.2)))["mean_iou"] == 1


def test_captions_pair_by_mask() -> None:
    ask = Caption("", (), ())
    result = compared(ask, answer(found(MASK, 0.1), text="a b"), answer(found(~MASK, 0.1, 0), found(MASK, 0.1, 1)))
    assert (result["masks"], result["mean_iou"], result["equal_text"]) == (2, 0.5, 0)


def test_panoptic_and_semantic() -> None:
    panoptic, semantic = (Categories(task, ("cat", "sky"), 1, ()) for task in ("panoptic", "semantic"))
    first, second = answer(found(MASK, 0.2)), answer(found(MASK, 0.2))
    assert compared(panoptic, first, second)["masks"] == 0
    assert compared(semantic, first, second)["masks"] == 1, "a semantic score is no confidence"


def test_masks_keep_their_shape() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random(SIZE) < 0.5
    assert compared(PHRASE, one(mask), one(mask))["min_iou"] == pytest.approx(1)
