from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.iou import box_iou
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.tracking import detections as module
from xsam_edge.runtime.tracking.detections import Detections, overlaps

BOX = [[0.0, 0.0, 10.0, 10.0]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": [[0, 0, float("nan"), 1]]}, r"boxes hold what is no finite number \(nan at \[0, 2\]\)"),
        ({"boxes": [[0, 0, float("inf"), 1]]}, "inf at"),
        ({"boxes": [[0, 0, 1e12, 1]]}, "a box reaches 1e[+]12; expected pixels, up to 1e[+]09"),
        ({"scores": [float("nan")]}, "scores hold what is no finite number"),
        ({"scores": [1.5]}, "scores are from 1.5 to 1.5; expected 0 to 1"),
        ({"scores": [0.5, 0.5]}, "expected a score for each of 1 boxes"),
        ({"boxes": [[0, 0, 1]]}, r"expected an array \[N, 4\]"),
        ({"boxes": [0, 0, 1, 1]}, r"expected an array \[N, 4\]"),
        ({"boxes": "box"}, "boxes is 'box'; expected an array of numbers"),
        ({"boxes": [[5, 0, 1, 1]]}, "a box ends before it begins"),
        ({"labels": ["a", "b"]}, "labels are 2; expected one for each of 1 boxes"),
        ({"labels": [["a"]]}, "a label is"),
        ({"questions": [-1]}, "a question's number is -1"),
        ({"size": (0, 5)}, "size is 0"),
    ],
)
def test_bad_input(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Detections(**{"boxes": BOX, "scores": [0.5], **given})


def test_nothing() -> None:
    for empty in ([], np.zeros((0, 4))):
        assert len(Detections(empty, [])) == 0
    assert [len(part) for part in overlaps(np.zeros((0, 4)), np.zeros((3, 4)), 0.1)] == [0, 0, 0]


def test_of_results() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:5] = True
    named, unnamed = Segment.from_mask(mask, 0.5, "cup", 3), Segment.from_mask(mask, 0.25, None, 7)
    found = Detections.of([Result("refer", (named,), (6, 8)), Result("regions", (named, unnamed), (6, 8))])
    np.testing.assert_array_equal(found.boxes, [[2, 1, 5, 3]] * 3)
    assert found.scores.tolist() == [0.5, 0.5, 0.25]
    assert found.labels == ("cup", "cup", 7)
    assert found.questions == (0, 1, 1)
    assert found.size == (6, 8)


def test_overlaps_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (20, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 20, (20, 2))], 1)
    expected = {
        (row, column): box_iou(tuple(boxes[row]), tuple(boxes[column]))
        for row in range(12)
        for column in range(20)
        if box_iou(tuple(boxes[row]), tuple(boxes[column])) >= 0.2
    }
    for block in (1, 50, 1 << 20):
        monkeypatch.setattr(module, "_BLOCK", block)
        rows, columns, iou = overlaps(boxes[:12], boxes, 0.2)
        assert dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), iou, strict=True)) == pytest.approx(expected)


def test_boxes_that_touch_do_not_overlap() -> None:
    beside = np.array([[10.0, 0.0, 20.0, 10.0], [3.0, 3.0, 3.0, 3.0]])
    assert not len(overlaps(np.array(BOX), beside, 0.0)[0])
