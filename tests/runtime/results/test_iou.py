import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.iou import box_iou, map_boxes, mask_box, mask_iou


def block(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((10, 12), bool)
    mask[top:bottom, left:right] = True
    return mask


A, B, EMPTY = block(0, 4, 0, 4), block(2, 6, 0, 4), block(0, 0, 0, 0)


def test_mask_iou() -> None:
    assert mask_iou(A, A) == 1
    assert mask_iou(A, B) == pytest.approx(8 / 24)
    assert mask_iou(A, EMPTY) == 0
    assert mask_iou(EMPTY, EMPTY) == 1
    with pytest.raises(InputError, match="shapes"):
        mask_iou(A, A[:5])


def test_mask_box() -> None:
    assert mask_box(block(3, 6, 5, 12)) == (5, 3, 12, 6)
    assert mask_box(EMPTY) == (0, 0, 0, 0)


def test_box_iou() -> None:
    assert box_iou((0, 0, 4, 4), (2, 0, 6, 4)) == pytest.approx(8 / 24)
    assert box_iou((0, 0, 4, 4), (4, 0, 6, 4)) == 0
    assert box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_boxes_of_a_map_are_those_of_its_masks() -> None:
    ids = np.random.default_rng(0).integers(-1, 9, (13, 17), dtype=np.int32)
    ids[ids == 4] = 0
    boxes, areas = map_boxes(ids, 7)
    assert boxes == [mask_box(ids == value) for value in range(7)]
    assert areas == [np.count_nonzero(ids == value) for value in range(7)]
    assert boxes[4] == (0, 0, 0, 0)
