import numpy as np
import pytest

from tests.runtime.postprocess.recorded_outputs import CATEGORY_TASKS, Case, cases
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.panoptic import Panoptic, panoptic_segments

RECORDED = [*cases(*CATEGORY_TASKS, variant="pan"), *cases("img_genseg", "img_ovseg", variant="")]


def segments_of(case: Case) -> Panoptic:
    loose = "o0.1" in case.variant
    default = 0.0 if case.task == "img_ovseg" else 0.5  # the official options of the two tasks
    return panoptic_segments(
        *case.inputs,
        stuff_ids=case.stuff,
        threshold=case.option("t", default),
        overlap_threshold=0.1 if loose else 0.8,
        mask_threshold=0.2 if loose else 0.5,
    )


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    """Our ids are the official ones here, since none of the recorded results gives an id out twice."""
    found, recorded = segments_of(case), case.facts["segments_info"]
    assert [piece.segment_id for piece in found.pieces] == [item["id"] for item in recorded]
    assert [piece.label_id for piece in found.pieces] == [item["category_id"] for item in recorded]
    np.testing.assert_allclose([p.score for p in found.pieces], [item["score"] for item in recorded], atol=2e-6)
    if recorded and "area" in recorded[0]:
        assert [piece.area for piece in found.pieces] == [item["area"] for item in recorded]
    np.testing.assert_array_equal(found.id_map, case.arrays["segmentation"])


@pytest.mark.parametrize("case", RECORDED[:6], ids=lambda case: case.name)
def test_segments_agree_with_the_map(case: Case) -> None:
    found = segments_of(case)
    assert [segment.id for segment in found.segments] == list(range(1, len(found.segments) + 1))
    for segment in found.segments:
        pieces = [piece for piece in found.pieces if piece.segment_id == segment.id]
        assert segment.area == found.mask(segment).sum() == sum(piece.area for piece in pieces)
        assert segment.score == max(piece.score for piece in pieces)
        assert {piece.label_id for piece in pieces} == {segment.label_id}
        assert segment.is_thing == (segment.label_id in case.things)
    assert (found.id_map == 0).sum() + sum(segment.area for segment in found.segments) == found.id_map.size


def stripes(labels: list[int], classes: int) -> tuple[np.ndarray, np.ndarray, Frame]:
    """One query per horizontal stripe of one cell, sure of its label."""
    count = len(labels)
    class_logits = np.full((count, classes + 1), -10, np.float32)
    class_logits[np.arange(count), labels] = 10
    masks = np.full((count, count, 4), -9, np.float32)
    masks[np.arange(count), np.arange(count)] = 9
    return class_logits, masks, Frame((count, 4), (count, 4), (count, 4))


def test_ids_stay_unique_after_stuff_is_reused() -> None:
    """Stuff 0, thing 1, stuff 0 again, thing 2: counting on from the reused id would give thing 2 the id of thing 1."""
    found = panoptic_segments(*stripes([0, 1, 0, 2], classes=3), stuff_ids={0})
    np.testing.assert_array_equal(found.id_map[:, 0], [1, 2, 1, 3])
    assert [(s.id, s.label_id, s.area, s.is_thing) for s in found.segments] == [
        (1, 0, 8, False),
        (2, 1, 4, True),
        (3, 2, 4, True),
    ]
    assert len(found.pieces) == 4


def test_things_of_one_class_stay_apart() -> None:
    assert len(panoptic_segments(*stripes([0, 0, 0], classes=1)).segments) == 3
    assert len(panoptic_segments(*stripes([0, 0, 0], classes=1), stuff_ids={0}).segments) == 1


def test_nothing_scores() -> None:
    class_logits, masks, frame = stripes([1, 1], classes=1)  # label 1 is the background
    found = panoptic_segments(class_logits, masks, frame)
    assert found.segments == found.pieces == ()
    assert not found.id_map.any()


def test_a_hidden_query_is_dropped() -> None:
    """Two queries claim everything, the surer one wins: the other keeps none of its pixels and no pixel is void."""
    class_logits, masks, frame = stripes([0, 1], classes=2)
    masks[:] = 9
    class_logits[0, 0] = -5
    found = panoptic_segments(class_logits, masks, frame)
    assert [piece.query for piece in found.pieces] == [1]
    assert (found.id_map == 1).all()
