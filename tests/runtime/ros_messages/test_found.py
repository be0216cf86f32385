from __future__ import annotations

import numpy as np

from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.ros_messages.found import found_in, mask_image

SIZE = (4, 6)


def segment(box: tuple[int, int, int, int], score: float, label: str | None = None) -> Segment:
    mask = np.zeros(SIZE, bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return Segment.from_mask(mask, score, label)


def result(*segments: Segment) -> Result:
    return Result("refer", segments, SIZE)


def test_ids_count_through_all_results_what_has_a_pixel() -> None:
    empty = segment((0, 0, 0, 0), 0.9, "nothing")
    found = found_in([result(empty, segment((0, 0, 2, 2), 0.5, "cup")), result(segment((1, 1, 4, 3), 0.25))])
    assert [(thing.id, thing.label, thing.score) for thing in found] == [(1, "cup", 0.5), (2, "segment", 0.25)]
    assert (found[1].centre, found[1].size) == ((2.5, 2.0), (3.0, 2.0))
    assert found_in([result()]) == ()


def test_ids_of_a_tracked_frame_are_its_identities() -> None:
    cup, new, empty = segment((0, 0, 2, 2), 0.5), segment((1, 1, 4, 3), 0.25), segment((0, 0, 0, 0), 0.9)
    tracked = result(empty, cup, new, cup).tracked([1, 300, None, 65536 + 4])
    assert [thing.id for thing in found_in([tracked], tracked=True)] == [300, 5]
    assert [thing.id for thing in found_in([tracked])] == [1, 2, 3]


def test_the_better_score_is_on_top_and_of_equals_the_first() -> None:
    better, worse, equal = (
        segment((1, 0, 4, 2), 0.9),
        segment((0, 0, 6, 4), 0.3),
        segment((0, 0, 2, 4), 0.9),
    )
    ids = mask_image(found_in([result(worse, better, equal)]), SIZE)
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[3, 2, 2, 2, 1, 1], [3, 2, 2, 2, 1, 1], [3, 3, 1, 1, 1, 1], [3, 3, 1, 1, 1, 1]]


def test_more_than_255_take_16_bits() -> None:
    cup = segment((0, 0, 1, 1), 0.5)
    assert mask_image(found_in([result(*[cup] * 255)]), SIZE).dtype == np.uint8
    ids = mask_image(found_in([result(*[cup] * 255, segment((2, 2, 3, 3), 0.1))]), SIZE)
    assert (ids.dtype, ids[2, 2], ids[0, 0]) == (np.uint16, 256, 1)


def test_nothing_is_an_image_of_0() -> None:
    ids = mask_image((), SIZE)
    assert (ids.shape, ids.dtype, ids.max()) == (SIZE, np.uint8, 0)


def test_segments_of_a_map() -> None:
    id_map = np.zeros(SIZE, np.int32)
    id_map[1:3, 2:5] = 4
    thing = Segment.from_map(id_map, 4, (2.0, 1.0, 5.0, 3.0), 6, 0.5, "sand")
    np.testing.assert_array_equal(mask_image(found_in([result(thing)]), SIZE), id_map // 4)
