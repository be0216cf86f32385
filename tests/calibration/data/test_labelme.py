import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.annotated import SIZE, write, write_reasons
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.labelme import ShapeRecord, parse_shape
from xsam_edge.calibration.data.masks import outline_mask
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.runtime.errors import InputError

RING = np.ones((4, 5), bool)
RING[1:3, 1:4] = False


def png(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def drawn(kind: str | None, points: list[list[float]], **fields: Any) -> np.ndarray:
    shape = parse_shape(ShapeRecord("x", points, kind, **fields), "file", "shapes[0]")
    assert shape is not None
    return shape.mask(SIZE)


@pytest.mark.parametrize("corners", [[[2, 3], [9, 7]], [[9.9, 7.2], [2.1, 3.8]], [[2, 7], [9, 3]]])
def test_a_rectangle_has_both_its_corners(corners: list[list[float]]) -> None:
    expected = np.zeros(SIZE, bool)
    expected[3:8, 2:10] = True
    assert np.array_equal(drawn("rectangle", corners), expected)


def test_a_circle_is_drawn_around_its_centre_up_to_a_point_of_its_edge() -> None:
    mask = drawn("circle", [[8, 6], [8, 2]])
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 6, columns - 8)
    assert mask[distance < 3.5].all() and not mask[distance > 4.5].any()
    assert mask[6, 4] and mask[2, 8] and not mask[6, 3]
    assert np.array_equal(mask, drawn("circle", [[8, 6], [12, 6]])), "any point of the edge"
    assert drawn("circle", [[0, 0], [90_000, 90_000]]).all(), "beyond the image"


def test_a_mask_lies_at_its_box() -> None:
    expected = np.zeros(SIZE, bool)
    expected[3:7, 2:7] = RING
    assert np.array_equal(drawn("mask", [[2, 3], [6, 6]], mask=png(RING)), expected)
    assert np.array_equal(drawn("mask", [[2.4, 2.6], [6.2, 6.7]], mask=png(RING)), expected), "its corner is rounded"
    assert np.array_equal(drawn("mask", [[6, 6], [2, 3]], mask=png(RING)), expected), "whichever corner is first"
    assert np.array_equal(drawn("mask", [[6.2, 2.6], [2.4, 6.7]], mask=png(RING)), expected)
    larger = np.pad(RING, ((0, 2), (0, 3)), constant_values=True)
    assert np.array_equal(drawn("mask", [[2, 3], [6, 6]], mask=png(larger)), expected), "cut at its box"


@pytest.mark.parametrize("corner", [(-2, -3), (14, 10), (40, 40), (-40, 2)])
def test_a_mask_is_cut_at_the_image(corner: tuple[int, int]) -> None:
    x, y = corner
    expected = np.zeros((200, 200), bool)
    expected[y + 100 : y + 104, x + 100 : x + 105] = RING
    mask = drawn("mask", [[x, y], [x + 4, y + 3]], mask=png(RING))
    assert np.array_equal(mask, expected[100 : 100 + SIZE[0], 100 : 100 + SIZE[1]])


@pytest.mark.parametrize("kind", [None, "polygon", "oriented_rectangle"])
def test_polygons(kind: str | None) -> None:
    points = [[8, 1], [12, 5], [8, 9], [4, 5]]
    assert np.array_equal(drawn(kind, points), outline_mask([(x, y) for x, y in points], SIZE))


@pytest.mark.parametrize(
    ("kind", "points", "mask"),
    [
        ("polygon", None, None),
        ("polygon", [], None),
        (None, [[1, 1], [5, 5]], None),
        ("rectangle", [], None),
        ("circle", [[8, 6], [8, 6]], None),
        ("mask", [[2, 3], [6, 6]], png(RING & False)),
    ],
)
def test_without_an_outline(kind: str | None, points: Any, mask: Any) -> None:
    assert parse_shape(ShapeRecord("x", points, kind, mask), "file", "shapes[0]") is None


@pytest.mark.parametrize(
    ("kind", "points", "beside"),
    [
        ("polygon", [[16, 1], [20, 1], [20, 5]], [[15, 1], [20, 1], [20, 5]]),
        (None, [[1, -9], [5, -9], [5, -1]], [[1, -9], [5, -9], [5, -0.5]]),
        ("rectangle", [[9, 12], [2, 30]], [[9, 11], [2, 30]]),
        ("circle", [[-5, 5], [-5, 9]], [[-5, 5], [-5, 11]]),
    ],
)
def test_outside_of_the_image(kind: str | None, points: Any, beside: Any) -> None:
    assert parse_shape(ShapeRecord("x", points, kind), "file", "shapes[0]", SIZE) is None
    shape = parse_shape(ShapeRecord("x", beside, kind), "file", "shapes[0]", SIZE)
    assert shape is not None and shape.mask(SIZE).any()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"shape_type": "line", "points": [[1, 1], [2, 2]]},
            r"shape_type is 'line', which encloses no region; expected",
        ),
        ({"shape_type": "linestrip", "points": [[1, 1], [2, 2], [3, 3]]}, "shape_type is 'linestrip'"),
        ({"shape_type": "point", "points": [[1, 1]]}, "shape_type is 'point'"),
        ({"shape_type": "points", "points": [[1, 1]]}, "shape_type is 'points'"),
        ({"shape_type": "cube", "points": [[1, 1]]}, "shape_type is 'cube'"),
        ({"shape_type": 3, "points": [[1, 1]]}, "shape_type is 3; expected text or null"),
        ({"shape_type": "rectangle", "points": [[1, 1]] * 3}, r"points are 3; expected the 2 of a rectangle"),
        ({"shape_type": "circle", "points": [[1, 1]]}, "points are 1; expected the 2 of a circle"),
        ({"shape_type": "mask", "points": [[1, 1], [2, 2]]}, r"mask is no base64 text"),
        ({"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "?"}, r"mask is no base64 text"),
        ({"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "AAAA"}, r"mask is no PNG that can be read"),
        ({"shape_type": "mask", "points": [[1, 1], [9, 9]], "mask": png(RING)}, r"mask is 5 x 4 pixels, its box 9 x 9"),
        (
            {"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": png(np.ones((2, 2, 3)))},
            "mask is a PNG of mode RGB; expected one channel",
        ),
    ],
)
def test_what_encloses_no_region_is_refused_by_name(shape: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_reasons(tmp_path) / "b.json"
    record = json.loads(path.read_text())
    write(path, {**record, "shapes": [{"label": "x", **shape}]})
    with pytest.raises(InputError, match=rf"b\.json: shapes\[0\]\.{message}"):
        open_folder(tmp_path)
    write(path, {**record, "shapes": [{**shape, "shape_type": "line", "label": "flag"}, *record["shapes"]]})
    assert open_folder(tmp_path).count(["reason"]) == 2, "a flag means nothing"


def test_questions_about_shapes(tmp_path: Path) -> None:
    path = write_reasons(tmp_path) / "b.json"
    shapes = [
        {"label": "dog", "shape_type": "rectangle", "points": [[2, 3], [9, 7]]},
        {"label": "ignore", "shape_type": "mask", "points": [[2, 3], [6, 6]], "mask": png(RING)},
        {"label": "dog", "shape_type": "polygon", "points": [[12, 3], [13, 4]]},
    ]
    write(path, {**json.loads(path.read_text()), "shapes": shapes})
    data = open_folder(tmp_path)
    phrase = [ask for picture in data.pictures(["reason"]) for ask in picture.asks][-1]
    assert isinstance(phrase, Phrase) and phrase.mask and phrase.ignore
    assert int(phrase.ignore().sum()) == int(RING.sum())
    assert int(phrase.mask().sum()) == 5 * 8 - int(RING.sum())
    assert data.describe()["sources"][0]["without_outline"] == 1  # type: ignore[index]
    assert data.notes[0].startswith(f"{tmp_path / 'val'}: 1 annotation has no outline")
