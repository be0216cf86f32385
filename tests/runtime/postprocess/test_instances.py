import numpy as np
import pytest

from tests.runtime.postprocess.recorded_outputs import CATEGORY_TASKS, Case, cases
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.instances import instance_masks
from xsam_edge.runtime.results.iou import mask_box

RECORDED = [
    *cases("img_vgdseg"),
    *cases(*CATEGORY_TASKS, variant="ins"),
    *cases("img_genseg_ins", variant=""),
]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.name)
def test_recorded(case: Case) -> None:
    things = None if case.aaai or case.task == "img_vgdseg" else case.things
    found = instance_masks(*case.inputs, threshold=case.option("t", 0.5), thing_ids=things)
    count, _, width = case.facts["inst.mask_shape"]
    assert len(found) == count
    scores = case.arrays["inst.scores"]
    for item, index in zip(found, np.argsort(-scores), strict=True):
        assert item.score == pytest.approx(scores[index], abs=1e-6)
        assert item.label_id == case.arrays["inst.pred_classes"][index]
        recorded = np.unpackbits(case.arrays["inst.pred_masks"][index], axis=-1)[:, :width]
        np.testing.assert_array_equal(item.mask, recorded)
        assert mask_box(item.mask) == tuple(case.arrays["inst.pred_boxes"][index])


def test_the_threshold_bound_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    class_logits = rng.normal(0, 3, (20, 7)).astype(np.float32)
    mask_logits = rng.normal(0, 3, (20, 6, 6)).astype(np.float32)
    frame = Frame((30, 20), (24, 16), (24, 24))
    everything = instance_masks(class_logits, mask_logits, frame, threshold=0)
    assert len(everything) == 20
    for threshold in (0.1, 0.4, 0.7):
        found = instance_masks(class_logits, mask_logits, frame, threshold=threshold)
        assert [item.score for item in found] == [item.score for item in everything if item.score >= threshold]


def test_empty_masks_are_dropped() -> None:
    class_logits = np.array([[9, -9], [9, -9]], np.float32)
    mask_logits = np.stack([np.full((4, 4), -1), np.full((4, 4), 1)]).astype(np.float32)
    (only,) = instance_masks(class_logits, mask_logits, Frame((8, 8), (8, 8), (8, 8)), threshold=0)
    assert only.query == 1
    assert only.mask.all()
