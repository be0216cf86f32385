from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.polygons import coco_polygons, outlines, yolo_polygon

SIZE = (30, 40)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]


def ring(x: float, y: float, outer: float, inner: float) -> np.ndarray:
    distance = np.hypot(X - x, Y - y)
    return (distance < outer) & (distance >= inner)


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    return (top <= Y) & (bottom > Y) & (left <= X) & (right > X)


RNG = np.random.default_rng(0)
MASKS = {
    "rectangle": rectangle(3, 9, 5, 20),
    "one pixel": rectangle(4, 5, 7, 8),
    "everything": np.ones(SIZE, bool),
    "disc": ring(18, 14, 9, 0),
    "hole": ring(18, 14, 12, 5),
    "island in a hole": ring(18, 14, 14, 9) | ring(18, 14, 5, 2),
    "two holes in a row": rectangle(5, 20, 2, 38) & ~rectangle(8, 14, 6, 12) & ~rectangle(9, 12, 18, 25),
    "holes that face one edge": rectangle(0, 30, 2, 38) & ~rectangle(3, 6, 9, 12) & ~rectangle(9, 12, 8, 25),
    "two parts": rectangle(2, 5, 2, 8) | rectangle(20, 28, 30, 40),
    "a diagonal": np.eye(*SIZE, dtype=bool),
    "a board": (X + Y) % 2 == 0,
    "noise": RNG.random(SIZE) < 0.5,
    "mostly full": RNG.random(SIZE) < 0.9,
}


def drawn(polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre a ray to the left of it leaves an odd number of times; polygons are united."""
    height, width = size
    mask = np.zeros(size, bool)
    for flat in polygons:
        corners = np.reshape(flat, (-1, 2))
        odd = np.zeros((height, width + 1), bool)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            for row in range(height):
                if min(y0, y1) <= row + 0.5 < max(y0, y1):
                    crossing = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                    odd[row, int(np.ceil(crossing - 0.5).clip(0, width))] ^= True
        mask |= np.logical_xor.accumulate(odd, axis=1)[:, :width]
    return mask


def grown(mask: np.ndarray) -> np.ndarray:
    """With every pixel beside it, at corners, too."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


@pytest.mark.parametrize("name", MASKS)
def test_drawing_them_back_gives_the_mask(name: str) -> None:
    mask = MASKS[name]
    np.testing.assert_array_equal(drawn(coco_polygons(mask), SIZE), mask)
    scaled = np.reshape(yolo_polygon(mask), (-1, 2)) * SIZE[::-1]
    np.testing.assert_array_equal(drawn([scaled.ravel().tolist()], SIZE), mask)


@pytest.mark.parametrize("name", MASKS)
def test_pillow_draws_them_within_a_pixel(name: str) -> None:
    mask = MASKS[name]
    canvas = Image.new("1", SIZE[::-1])
    for polygon in coco_polygons(mask):
        ImageDraw.Draw(canvas).polygon(polygon, fill=1)
    found = np.asarray(canvas)
    assert not (found & ~grown(mask)).any()
    assert not (mask & ~grown(found)).any()


def test_a_part_has_an_outline_of_its_corners() -> None:
    (outline,) = outlines(MASKS["rectangle"])
    assert sorted(map(tuple, outline.tolist())) == [(5, 3), (5, 9), (20, 3), (20, 9)]
    assert len(outlines(MASKS["two parts"])) == 2
    assert len(outlines(MASKS["hole"])) == 1
    assert len(outlines(MASKS["island in a hole"])) == 2
    assert len(outlines(MASKS["a diagonal"])) == 30


def test_shares_lie_within_the_image() -> None:
    for mask in MASKS.values():
        assert min(yolo_polygon(mask)) >= 0 and max(yolo_polygon(mask)) <= 1


def test_an_empty_mask_has_none() -> None:
    empty = np.zeros(SIZE, bool)
    assert outlines(empty) == coco_polygons(empty) == yolo_polygon(empty) == []


def test_what_is_no_mask() -> None:
    with pytest.raises(InputError, match=r"^mask is"):
        outlines(np.zeros(SIZE, np.uint8))


def test_coco_reads_them_as_the_mask() -> None:
    """The API of COCO itself, which draws an outline's pixels by a rule of its own."""
    masks = pytest.importorskip("pycocotools.mask")
    for name in ("rectangle", "disc", "two parts", "hole"):
        found = masks.merge(masks.frPyObjects(coco_polygons(MASKS[name]), *SIZE))
        np.testing.assert_array_equal(rle.decode(**found), MASKS[name], name)
