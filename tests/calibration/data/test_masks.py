from typing import Any

import numpy as np
import pytest
from pycocotools import mask as api

from tests.annotated import CAT, DOG, SIZE, WITHOUT_OUTLINE, polygon
from xsam_edge.calibration import coco_api
from xsam_edge.calibration.data.masks import outline_mask, parse_segmentation
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.results import rle

RUNS = {"size": list(SIZE), "counts": rle.run_lengths(CAT).tolist()}


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools itself
def test_polygons_are_drawn_as_pycocotools_does() -> None:
    rng = np.random.default_rng(0)
    polygons = [(rng.random(2 * count) * np.tile([60, 40], count)).tolist() for count in (3, 5, 9)]
    expected = api.decode(api.merge(api.frPyObjects(polygons, 40, 60))).astype(bool)
    assert expected.any()
    assert np.array_equal(parse_segmentation(polygons, "x").mask((40, 60)), expected)


def test_polygons_and_every_kind_of_run() -> None:
    compressed = dict(rle.encode(CAT))
    runs = {"size": list(SIZE), "counts": rle.run_lengths(DOG).tolist()}
    assert np.array_equal(parse_segmentation(polygon(CAT), "x").mask(SIZE), CAT)
    assert np.array_equal(parse_segmentation(compressed, "x").mask(SIZE), CAT)
    assert np.array_equal(parse_segmentation(runs, "x").mask(SIZE), DOG)
    assert np.array_equal(parse_segmentation([compressed, runs], "x").mask(SIZE), CAT | DOG)


@pytest.mark.parametrize("annotation", WITHOUT_OUTLINE)
def test_without_an_outline(annotation: dict[str, Any]) -> None:
    """Two points among them, which pycocotools takes for a box."""
    assert parse_segmentation(annotation.get("segmentation"), "x").is_empty


def test_outside_of_the_image() -> None:
    right, below, crossed = [[16, 1, 20, 1, 20, 5]], [[1, 12, 5, 12, 5, 20]], [[1, 1, 9, 9, 9, 1, 1, 9]]
    assert parse_segmentation(right, "x", SIZE).is_empty and not parse_segmentation(right, "x").is_empty
    assert parse_segmentation(below, "x", SIZE).is_empty
    assert parse_segmentation([*right, *polygon(CAT)], "x", SIZE).mask(SIZE).sum() == CAT.sum()
    assert parse_segmentation(crossed, "x", SIZE).mask(SIZE).any(), "its two halves cancel out in its area alone"


@pytest.mark.parametrize("value", [[[1, 1, 5, 5], *polygon(CAT)], [dict(rle.encode(np.zeros(SIZE, bool))), RUNS]])
def test_a_part_without_an_outline(value: Any) -> None:
    segmentation = parse_segmentation(value, "x")
    assert not segmentation.is_empty and np.array_equal(segmentation.mask(SIZE), CAT)


@pytest.mark.parametrize(
    "value",
    [
        "text",
        [None],
        [[1, 2, 3, 4, 5]],
        [["a", "b"] * 3],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 1e12]],
        [1, 2, 3, 4, 5, 6],
        [[[1, 2], [3, 4], [5, 6]]],
        {"counts": "04"},
        {"size": [12], "counts": "04"},
        {"size": [12, "16"], "counts": "04"},
        {"size": [12.5, 16], "counts": "04"},
        {"size": [-12, -16], "counts": "04"},
        {"size": [12, 16], "counts": None},
        {"size": [12, 16], "counts": [1.5, 190.5]},
        {"size": [12, 16], "counts": [[192]]},
    ],
)
def test_what_is_no_segmentation_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^file: annotation 7"):
        parse_segmentation(value, "file: annotation 7")


@pytest.mark.parametrize(
    "value",
    [{"size": [16, 12], "counts": [192]}, {"size": [12, 16], "counts": [191]}, {"size": [12, 16], "counts": "é"}],
)
def test_runs_that_do_not_fit_are_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^here: .*RLE"):
        parse_segmentation(value, "here").mask(SIZE)


def test_polygons_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(coco_api, "import_module", missing)
    assert parse_segmentation(dict(rle.encode(CAT)), "x").mask(SIZE).any()
    with pytest.raises(XSamError, match=r"here: a polygon needs the package pycocotools.*xsam-edge\[eval\]"):
        parse_segmentation(polygon(CAT), "here")


def test_an_outline_holds_its_own_pixels() -> None:
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:6] = True
    assert np.array_equal(outline_mask([(2.9, 1.2), (5.5, 1), (5, 3.9), (2, 3)], (6, 8)), expected)


def test_a_slanted_outline() -> None:
    """As OpenCV 5 draws it with ``fillPoly`` and ``polylines``."""
    drawn = outline_mask([(1, 0), (7, 2), (0, 5)], (6, 8))
    assert ["".join(".#"[value] for value in row) for row in drawn.astype(int)] == SLANTED


def test_a_crossing_outline_is_even_odd() -> None:
    """As OpenCV 5 draws a five-pointed star."""
    drawn = outline_mask([(10, 0), (16, 19), (0, 7), (20, 7), (4, 19)], (20, 21))
    assert not drawn[10, 10], "the middle is outside"
    assert np.count_nonzero(drawn) == STAR


def test_outlines_may_leave_the_image_and_have_any_number_of_points() -> None:
    assert outline_mask([(-5, -5), (50, -5), (50, 50), (-5, 50)], (6, 8)).all()
    assert np.argwhere(outline_mask([(3, 2)], (6, 8))).tolist() == [[2, 3]]
    assert np.argwhere(outline_mask([(3, 2), (5, 2)], (6, 8))).tolist() == [[2, 3], [2, 4], [2, 5]]


SLANTED = [
    ".##.....",
    ".#####..",
    ".#######",
    "######..",
    "####....",
    "##......",
]
STAR = 132
