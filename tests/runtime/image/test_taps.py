from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput
from xsam_edge.runtime.image.preprocess import scaled_size, square_colour
from xsam_edge.runtime.image.taps import LONGEST_EDGE, Taps, mask_taps, most_taps, taps, vision_taps

BILINEAR, BICUBIC = 2, 3
VISION = VisionInput(384, 384, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), BICUBIC, 1 / 255, False)
MASK = MaskInput(1024, 1024, 1024, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), BILINEAR, 1 / 255)


def resized(values: npt.NDArray[np.int64], axis: Taps, colour: int = 0) -> npt.NDArray[np.int64]:
    """Whole numbers [n] resized in whole numbers."""
    inputs = values[axis.indices]
    inputs[:, 0] = colour
    sums = (inputs * axis.weights.astype(np.int64)).sum(1)
    return np.clip((sums + (1 << 21)) >> 22, 0, 255)


def grey(width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """One row of noise, of extremes where the seed is odd."""
    row = np.random.default_rng(seed).integers(0, 256, width, dtype=np.uint8)
    return np.where(row > 127, 255, 0).astype(np.uint8) if seed % 2 else row


@pytest.mark.parametrize("resample", [BILINEAR, BICUBIC])
@pytest.mark.parametrize(
    ("size_in", "size_out"),
    [(1, 1), (1, 7), (7, 1), (2, 3), (640, 384), (384, 384), (1920, 384), (1080, 576), (639, 1024), (3000, 17)],
)
def test_they_are_those_of_pillow(size_in: int, size_out: int, resample: int) -> None:
    for seed in range(4):
        row = grey(size_in, seed)
        expected = np.asarray(Image.fromarray(row[None]).resize((size_out, 1), resample))[0]
        np.testing.assert_array_equal(resized(row.astype(np.int64), taps(size_in, size_out, resample)), expected)


@pytest.mark.parametrize("size", [(1, 1), (30, 41), (41, 30), (200, 3), (3, 200)])
def test_the_colour_around_a_picture_counts(size: tuple[int, int]) -> None:
    padded = dataclasses.replace(VISION, mean=(0.4, 0.5, 0.5), pad_to_square=True, height=20, width=24)
    side, colour = max(size), square_colour(padded)[0]
    for axis, edge, out in zip(vision_taps(size, padded), size, (20, 24), strict=True):
        row = grey(edge, 1)
        square = np.full(side, colour, np.uint8)
        square[(side - edge) // 2 : (side - edge) // 2 + edge] = row
        expected = np.asarray(Image.fromarray(square[None]).resize((out, 1), BICUBIC))[0]
        np.testing.assert_array_equal(resized(row.astype(np.int64), axis, colour), expected)


def test_a_scaled_image_leaves_the_rest_without_weight() -> None:
    rows, columns = mask_taps((480, 640), MASK)
    assert (len(rows.weights), len(columns.weights)) == scaled_size((480, 640), MASK) == (768, 1024)
    framed = rows.framed(1024, 9)
    assert framed.weights.shape == framed.indices.shape == (1024, 9)
    assert framed.weights[:768].sum(1).min() > 0 and not framed.weights[768:].any()
    np.testing.assert_array_equal(framed.weights[:768, : rows.count], rows.weights)


@pytest.mark.parametrize("pad_to_square", [False, True])
def test_the_longest_pictures_have_no_more_than_the_most(pad_to_square: bool) -> None:
    vision = dataclasses.replace(VISION, pad_to_square=pad_to_square)
    for short in (1, 5, 6, 1000, 2305, 2307, 2730, 4095, 4096):
        for size in ((LONGEST_EDGE, short), (short, LONGEST_EDGE)):
            assert max(axis.count for axis in vision_taps(size, vision)) <= most_taps(vision) == 44
            assert max(axis.count for axis in mask_taps(size, MASK)) <= most_taps(MASK) == 14
