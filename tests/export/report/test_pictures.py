"""Pictures of worst cases."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from xsam_edge.export.report.pictures import MASK, ONLY_FP32, ONLY_REDUCED, worst_case_picture
from xsam_edge.runtime.errors import InputError

GAP = 6


def _panels(data: bytes) -> list[np.ndarray]:
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    width = (picture.width - 3 * GAP) / 4
    assert width == int(width)
    pixels = np.asarray(picture).astype(int)
    return [pixels[:, round(index * (width + GAP)) :][:, : int(width)] for index in range(4)]


def _near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel - np.array(color)).max() < 12)


def test_panels() -> None:
    """Left half only FP32 has, the middle both, the right only the reduced precision."""
    image = Image.new("RGB", (120, 60), (200, 180, 40))
    reference, mask = np.zeros((60, 120), bool), np.zeros((60, 120), bool)
    reference[:, 20:70] = True
    mask[:, 50:100] = True
    plain, first, second, difference = _panels(worst_case_picture(image, reference, mask, height=60))
    assert plain.shape == (45, 90, 3)  # a panel is at most one and a half times as wide as high
    at = {name: int(x * 0.75) for name, x in (("none", 8), ("fp32", 35), ("both", 60), ("reduced", 85))}
    blend = tuple((a + b) // 2 for a, b in zip((200, 180, 40), MASK, strict=True))
    assert all(_near(plain[22, x], (200, 180, 40)) for x in at.values())
    assert [_near(first[22, x], blend) for x in at.values()] == [False, True, True, False]
    assert [_near(second[22, x], blend) for x in at.values()] == [False, False, True, True]
    assert _near(difference[22, at["fp32"]], ONLY_FP32)
    assert _near(difference[22, at["reduced"]], ONLY_REDUCED)
    for place in ("none", "both"):
        red, green, blue = difference[22, at[place]]
        assert max(red, green, blue) - min(red, green, blue) < 8
    edge = int(20 * 0.75)
    assert any(_near(first[22, x], MASK) for x in range(edge - 1, edge + 3))


def test_a_line_of_one_pixel_shows_in_a_large_image() -> None:
    mask = np.zeros((1000, 1000), bool)
    other = mask.copy()
    other[500] = True
    difference = _panels(worst_case_picture(Image.new("L", (1000, 1000), 128), other, mask))[3]
    assert (difference[..., 0] - difference[..., 2]).max() > 40


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (3, 400), (900, 2), (96, 96)])
def test_images_of_all_kinds(mode: str, size: tuple[int, int]) -> None:
    mask = np.ones(size[::-1], bool)
    panels = _panels(worst_case_picture(Image.new(mode, size), mask, ~mask))
    assert panels[0].shape[0] <= 240
    assert panels[0].shape[1] <= 360


def test_masks_of_another_size_are_refused() -> None:
    mask = np.zeros((4, 6), bool)
    with pytest.raises(InputError, match=r"\(4, 6\).*\(6, 4\)"):
        worst_case_picture(Image.new("RGB", (4, 6)), mask, mask)
