from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from xsam_edge.runtime.label.categories import Category, numbered
from xsam_edge.runtime.label.records import picture_of, to_record
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

SIZE = (6, 8)
CATEGORIES = numbered(["car", "van"], ["road", "path"])
BECOMES = {category.name: category for category in CATEGORIES}


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def segment(mask: np.ndarray, score: float, label: int) -> Segment:
    category = CATEGORIES[label]
    return Segment.from_mask(mask, score, category.name, label, category.is_thing)


def test_a_record_gives_the_masks_again() -> None:
    segments = (segment(box(0, 0, 2, 3), 0.9, 0), segment(box(1, 1, 6, 8), 0.123456789, 2))
    unnamed = Segment.from_mask(box(0, 0, 1, 1), 0.9, None, 9)
    empty = segment(box(0, 0, 0, 0), 0.9, 1)
    record = json.loads(json.dumps(to_record("a.jpg", [Result("t", (*segments, unnamed, empty), SIZE)], ())))
    picture = picture_of(record, 7, Path("/p/a.jpg"), BECOMES)
    assert (picture.id, picture.name, picture.size, picture.parts) == (7, "a.jpg", SIZE, 1)
    assert picture.least_score() == 0.123456789
    for found, wanted in zip(picture.segments, segments, strict=True):
        np.testing.assert_array_equal(found.mask(), wanted.mask)
        assert found.bounds == (wanted.area, tuple(map(int, wanted.box)))
        assert found.segment() == Segment.from_mask(
            wanted.mask, wanted.score, wanted.label, found.category.id, wanted.is_thing
        )


def test_phrases_are_labels() -> None:
    results = [Result("t", (Segment.from_mask(box(0, 0, 1, 1), 0.5, "The Car", 0),), SIZE), Result("t", (), SIZE)]
    record = to_record("a.jpg", results, ["the car", "the van"], 3)
    assert [item["label"] for item in record["segments"]] == ["the car"]
    assert record["parts"] == 3


def test_stuff_that_becomes_one_is_one_segment() -> None:
    parts = [segment(box(0, 0, 2, 2), 0.5, 2), segment(box(4, 4, 6, 6), 0.7, 3), segment(box(0, 4, 1, 5), 0.6, 1)]
    becomes = {**BECOMES, "path": BECOMES["road"], "van": Category("car", True, 1)}
    picture = picture_of(to_record("a.jpg", [Result("t", tuple(parts), SIZE)], ()), 1, Path("a.jpg"), becomes)
    road, car = picture.segments
    assert (road.category.name, road.score, car.category.name) == ("road", 0.7, "car")
    np.testing.assert_array_equal(road.mask(), parts[0].mask | parts[1].mask)


def test_the_best_segment_has_a_pixel_of_the_map() -> None:
    parts = (segment(box(0, 0, 4, 4), 0.5, 0), segment(box(2, 2, 6, 6), 0.9, 1), segment(box(0, 0, 1, 1), 0.4, 0))
    picture = picture_of(to_record("a.jpg", [Result("t", parts, SIZE)], ()), 1, Path("a.jpg"), BECOMES)
    owner, segments = picture.map()
    assert [item.score for item in segments] == [0.9, 0.5]
    np.testing.assert_array_equal(owner == 1, parts[1].mask)
    np.testing.assert_array_equal(owner == 2, parts[0].mask & ~parts[1].mask)
    assert picture_of({"picture": "x", "size": [1, 1], "segments": []}, 1, Path("x"), {}).least_score() is None
