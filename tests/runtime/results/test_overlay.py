import numpy as np
import pytest
from PIL import Image, ImageDraw

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.overlay import draw, palette, segment_colors
from xsam_edge.runtime.results.segment import Segment

GREY = (128, 128, 128)


def disc(height: int, width: int, label: str | None = None, **options) -> Segment:
    y, x = np.mgrid[:height, :width]
    mask = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
    return Segment.from_mask(mask, 0.5, label, **options)


def test_fill_and_contour() -> None:
    picture = np.array(draw(Image.new("RGB", (300, 200), GREY), [disc(200, 300, "x" * 200)], alpha=0.5))
    color = np.array(palette(0))
    np.testing.assert_allclose(picture[100, 150], (color + GREY) / 2, atol=1)
    assert (picture == color).all(-1).sum() > 300, "contour or chip in the full colour"
    np.testing.assert_array_equal(picture[-1, -1], GREY)


def test_alpha_ends() -> None:
    image = Image.new("RGB", (60, 40), GREY)
    unfilled = np.array(draw(image, [disc(40, 60)], alpha=0))
    np.testing.assert_array_equal(unfilled[20, 30], GREY)
    np.testing.assert_array_equal(np.array(draw(image, [disc(40, 60)], alpha=1))[20, 30], palette(0))
    with pytest.raises(InputError, match="alpha"):
        draw(image, [], alpha=1.1)


def test_the_image_is_not_touched() -> None:
    image = Image.new("RGB", (60, 40), GREY)
    before = image.tobytes()
    assert draw(image, [disc(40, 60, "cat")]).tobytes() != before
    assert image.tobytes() == before


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (7, 5), (30, 20), (20000, 3)])
@pytest.mark.parametrize("is_thing", [True, False])
def test_any_size(size: tuple[int, int], is_thing: bool) -> None:
    width, height = size
    everything = Segment.from_mask(np.ones((height, width), bool), 1.0, "everything", is_thing=is_thing)
    nothing = Segment.from_mask(np.zeros((height, width), bool), 0.1, "nothing", 1, is_thing)
    picture = draw(Image.new("RGB", size, GREY), [everything, nothing])
    assert picture.size == size
    assert picture.mode == "RGB"
    assert np.array(picture).std((0, 1)).max() < 100
    assert picture.getpixel((0, 0)) != GREY


def test_a_picture_is_scaled_down_where_that_is_asked() -> None:
    large = Segment.from_mask(np.ones((20, 3000), bool), 0.5)
    assert draw(Image.new("RGB", (3000, 20)), [large]).size == (3000, 20)
    assert draw(Image.new("RGB", (3000, 20)), [large], max_side=(1 << 63) - 1).size == (3000, 20)
    picture = draw(Image.new("L", (400, 200), 128), [disc(200, 400)], max_side=100)
    assert picture.size == (100, 50)
    assert picture.getpixel((50, 25)) != GREY


def test_chips_stay_inside() -> None:
    """A chip adds as much flat colour in every corner: nothing of it is cut off."""
    added = []
    for top, left in ((0, 0), (0, 360), (260, 0), (260, 360)):
        mask = np.zeros((300, 400), bool)
        mask[top : top + 40, left : left + 40] = True
        pictures = [
            np.array(draw(Image.new("RGB", (400, 300), GREY), [Segment.from_mask(mask, 0.5, label)], alpha=0))
            for label in ("a", "an armchair")
        ]
        plain, labelled = ((picture == palette(0)).all(-1).sum() for picture in pictures)
        added.append(labelled - plain)
    assert min(added) > 0.8 * max(added) > 200


def test_crowded_chips_do_not_overlap() -> None:
    """Ten labels at one place: every chip's colour can still be seen in full."""
    segments = [disc(400, 500, "same place", label_id=index) for index in range(10)]
    picture = np.array(draw(Image.new("RGB", (500, 400), GREY), segments))
    areas = [(picture == palette(index)).all(-1).sum() for index in range(9)]
    assert min(areas) > 0.6 * max(areas)


def test_colors_are_distinct_and_stable() -> None:
    assert len({palette(index) for index in range(60)}) == 60
    assert segment_colors([2, 0, 2, 2]) == [palette(2), palette(0), palette(3), palette(4)]
    assert segment_colors([5]) == [palette(5)]
    assert segment_colors([]) == []


def test_masks_must_fit() -> None:
    with pytest.raises(InputError, match="expected the image's height and width"):
        draw(Image.new("RGB", (60, 40)), [disc(60, 40)])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((np.zeros((4, 6, 3), np.uint8), []), "image"),
        ((Image.new("RGB", (6, 4)), [np.ones((4, 6), bool)]), "a segment"),
        ((Image.new("RGB", (6, 4)), [], 0.5, 0), "max_side"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments: tuple[object, ...], name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is"):
        draw(*arguments)


def test_what_is_tracked_has_a_colour_of_its_own() -> None:
    image = Image.new("RGB", (300, 200), GREY)
    for others in ([], [Segment.from_mask(np.zeros((200, 300), bool), 0.5, "dog", 1).tracked(2)]):
        picture = np.array(draw(image, [*others, disc(200, 300, "cat").tracked(7)], alpha=1))
        np.testing.assert_array_equal(picture[100, 150], palette(6))
    untracked = disc(200, 300, "cat")
    tracked = Segment.from_mask(np.zeros((200, 300), bool), 0.5, "cat").tracked(1)
    grey = np.array(draw(image, [untracked, tracked], alpha=1))[100, 150]
    assert len(set(grey.tolist())) == 1, "beside those with an identity, one without has none of their colours"


def test_the_label_has_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, place, text, **options: written.append(text))
    draw(Image.new("RGB", (900, 600)), [disc(600, 900, "cup").tracked(3)])
    draw(Image.new("RGB", (900, 600)), [disc(600, 900).tracked(3)])
    draw(Image.new("RGB", (900, 600)), [disc(600, 900, "cup")])
    assert written == ["#3 cup 0.50", "#3 0.50", "cup 0.50"]
