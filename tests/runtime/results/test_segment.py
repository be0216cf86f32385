import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.segment import Segment

MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:5] = True
GIVEN = {"mask": MASK, "score": 0.5, "label": "cat", "label_id": 0, "box": (2, 1, 5, 3), "area": 6}


def mapped() -> Segment:
    return Segment.from_map(MASK * np.int32(7), 7, (2.0, 1.0, 5.0, 3.0), 6, 0.5, "cat", id=7)


def test_a_segment_of_a_map_is_that_of_its_mask() -> None:
    expected = Segment.from_mask(MASK, 0.5, "cat", id=7)
    assert mapped() == expected and expected == mapped()
    assert mapped().size == expected.size == (4, 6)
    assert mapped().mask.dtype == bool
    assert "mask" not in vars(mapped())
    assert repr(mapped()) == repr(expected)


def test_a_segment_of_a_map_can_be_copied() -> None:
    for copied in (copy.copy(mapped()), copy.deepcopy(mapped()), pickle.loads(pickle.dumps(mapped()))):
        assert copied == mapped()
    changed = replace(mapped(), score=0.25)
    assert changed.score == 0.25
    np.testing.assert_array_equal(changed.mask, MASK)


def test_a_segment_with_an_identity() -> None:
    for plain in (mapped(), Segment.from_mask(MASK, 0.5, "cat", id=7)):
        tracked = plain.tracked(np.int64(3))
        assert (plain.track_id, tracked.track_id, type(tracked.track_id), tracked.id) == (None, 3, int, 7)
        assert tracked != plain and tracked.tracked(None) == plain
        assert ("mask" in vars(tracked)) == ("mask" in vars(plain)), "no mask is cut out of a map"
        for wrong in (0, -1, 1.5, "3"):
            with pytest.raises(InputError, match="track_id is"):
                plain.tracked(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="track_id is 0"):
        Segment(**GIVEN, track_id=0)


def test_other_names_are_no_attributes() -> None:
    for segment in (mapped(), Segment.from_mask(MASK, 0.5)):
        with pytest.raises(AttributeError, match="has no attribute 'polygon'"):
            segment.polygon  # noqa: B018


def test_numbers_of_numpy_are_numbers() -> None:
    given = {"score": np.float32(0.5), "label_id": np.int64(3), "is_thing": np.bool_(True), "id": np.uint8(2)}
    found = Segment(**(GIVEN | given | {"box": np.float32([2, 1, 5, 3])}))
    assert [type(getattr(found, name)) for name in given] == [float, int, bool, int]
    assert found.box == (2.0, 1.0, 5.0, 3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mask", MASK.astype(np.uint8)),
        ("mask", MASK[0]),
        ("mask", MASK.tolist()),
        ("score", 1.5),
        ("score", "high"),
        ("score", float("nan")),
        ("label", 3),
        ("label_id", -1),
        ("label_id", 0.5),
        ("box", (0, 1, 2)),
        ("box", "0123"),
        ("area", -1),
        ("is_thing", "yes"),
        ("id", None),
    ],
)
def test_wrong_values_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} is"):
        Segment(**(GIVEN | {name: value}))


def test_a_mask_is_checked_before_it_is_measured() -> None:
    with pytest.raises(InputError, match=r"^mask is"):
        Segment.from_mask([[True]], 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("id_map", 7), ("id_map", MASK), ("id_map", np.zeros(6, np.int32)), ("value", "7"), ("value", -2), ("value", 0.5)],
)
def test_a_map_is_checked_before_a_mask_is_cut_out_of_it(name: str, value: object) -> None:
    given = {"id_map": np.zeros((4, 6), np.int32), "value": 7, "box": (0, 0, 1, 1), "area": 1, "score": 0.5}
    with pytest.raises(InputError, match=rf"^{name} is"):
        Segment.from_map(**(given | {name: value}))
