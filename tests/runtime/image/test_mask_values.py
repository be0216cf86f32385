"""Masks as other programs write them, each of which has the same region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.regions import region_mask

SIZE = (40, 60)
SHAPE = np.zeros(SIZE, bool)
SHAPE[5:20, 10:30] = True
OTHER = np.zeros(SIZE, bool)
OTHER[25:35, 35:55] = True
IDS = SHAPE * 1 + OTHER * 2
SOFT = np.clip(np.cumsum(SHAPE, 1) * 40, 0, 255) * SHAPE  # rises from 0 over half a dozen pixels

NOISE = np.indices((*SIZE, 3)).sum(0).astype(np.uint8) % 5 * ~SHAPE[..., None]  # of lossy compression


def paletted(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def layer(alpha: np.ndarray, colour: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """A drawing program's layer: one colour, and the shape in what is not transparent."""
    image = Image.new("RGB", SIZE[::-1], colour)
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return image


def transparent() -> Image.Image:
    image = paletted(SHAPE * 1, (255, 255, 255), (0, 0, 0))
    image.info["transparency"] = 0
    return image


MASKS: dict[str, Any] = {
    "alpha of black": layer(SHAPE * 255),
    "alpha of white": layer(SHAPE * 255, (255, 255, 255)),
    "alpha of a brush that is half transparent": layer(SHAPE * 100, (255, 0, 0)),
    "grey and opaque": Image.fromarray(SHAPE * np.uint8(255)).convert("RGBA"),
    "grey with alpha": Image.merge("LA", [Image.new("L", SIZE[::-1]), Image.fromarray(SHAPE * np.uint8(255))]),
    "dark grey": Image.fromarray(SHAPE * np.uint8(100)),
    "red on black": Image.fromarray(SHAPE[..., None] * np.array([128, 0, 0], np.uint8)),
    "blue on black": Image.fromarray(SHAPE[..., None] * np.array([0, 0, 1], np.uint8)),
    "opaque red on black": Image.fromarray(SHAPE[..., None] * np.array([255, 0, 0], np.uint8)).convert("RGBA"),
    "nearly black and white": Image.fromarray(SHAPE[..., None] * np.array([240, 250, 255], np.uint8) + NOISE),
    "bits": Image.fromarray(SHAPE),
    "palette of VOC": paletted(SHAPE * 1, (0, 0, 0), (128, 0, 0)),
    "palette with black last": paletted(1 - SHAPE * 1, (128, 0, 0), (0, 0, 0)),
    "palette of two colours": paletted(SHAPE * 1, (255, 255, 0), (128, 0, 0)),
    "palette of black and white, white first": paletted(1 - SHAPE * 1, (255, 255, 255), (0, 0, 0)),
    "palette of greys": paletted(SHAPE * 1, (0, 0, 0), (200, 200, 200), (90, 90, 90)),
    "palette with a transparent colour": transparent(),
    "16 bits, 1": Image.fromarray(SHAPE.astype(np.uint16)),
    "16 bits, 255": Image.fromarray(SHAPE * np.uint16(255)),
    "16 bits, 65535": Image.fromarray(SHAPE * np.uint16(65535)),
    "mode I, 255": Image.fromarray(SHAPE * np.int32(255)),
    "array of 16 bits": SHAPE * np.uint16(40000),
    "array of 300": SHAPE * np.int64(300),
    "one of an array's ids": (IDS, 1),
    "one of a palette's ids": (paletted(IDS, (0, 0, 0), (128, 0, 0), (0, 128, 0)), 1),
    "one of an image's ids": (Image.fromarray(IDS.astype(np.uint16)), np.int64(1)),
    "none of a semantic map": (np.where(SHAPE, -1, 0), -1),
}


@pytest.mark.parametrize("name", MASKS)
def test_the_region_is_found(name: str) -> None:
    np.testing.assert_array_equal(region_mask(MASKS[name], SIZE), SHAPE)


@pytest.mark.parametrize("name", [name for name, mask in MASKS.items() if isinstance(mask, Image.Image)])
def test_and_in_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("mask.tif" if MASKS[name].mode == "I" else "mask.png")
    MASKS[name].save(path)
    np.testing.assert_array_equal(region_mask(path, SIZE), SHAPE)


def test_soft_edges_are_cut_in_the_middle() -> None:
    for soft in (SOFT.astype(np.uint8), SOFT.astype(np.uint16) * 257):
        np.testing.assert_array_equal(region_mask(Image.fromarray(soft), SIZE), SOFT > 128)
        np.testing.assert_array_equal(region_mask(soft, SIZE), SOFT > 128)
    np.testing.assert_array_equal(region_mask(layer(SOFT, (9, 99, 9)), SIZE), SOFT > 127)


@pytest.mark.parametrize(
    "mask",
    [
        IDS.astype(np.uint8),
        IDS.astype(np.uint16),
        IDS - 1,
        np.where(IDS == 0, 65535, IDS).astype(np.uint16),
        (IDS * 301).astype(np.uint16),
        Image.fromarray((SHAPE * 7 + OTHER * 33_001).astype(np.uint16)),
        Image.fromarray(IDS.astype(np.uint16)),
        Image.fromarray(IDS.astype(np.uint8)),
        paletted(IDS, (0, 0, 0), (128, 0, 0), (0, 128, 0)),
        paletted(SHAPE * 1 + OTHER * 255, *[(index, 0, 0) for index in range(256)]),
    ],
)
def test_ids_must_be_chosen(mask: Any) -> None:
    with pytest.raises(InputError, match=r"the mask holds the values .*; say which one is the region: \(mask, id\)"):
        region_mask(mask, SIZE)


@pytest.mark.parametrize(
    ("shape", "other", "background"),
    [
        ((1, 0, 0), (2, 0, 0), (0, 0, 0)),  # ids as COCO's panoptic maps have them
        ((255, 255, 0), (0, 0, 255), (0, 0, 0)),
        ((255, 0, 0), (255, 255, 255), (255, 255, 255)),
        ((255, 0, 0), (255, 0, 0), (255, 0, 0)),
    ],
)
def test_of_several_colours_none_is_guessed(shape: Any, other: Any, background: Any) -> None:
    pixels = np.array([background, shape, other], np.uint8)[IDS]
    with pytest.raises(
        InputError, match="colours, and nothing says which is the region; give a mask in black and white"
    ):
        region_mask(Image.fromarray(pixels), SIZE)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ((IDS, 7), "the mask has no pixel of the id 7; it holds the values 0, 1, 2"),
        ((IDS, "1"), "the id of a mask is '1'; expected a whole number"),
        ((IDS, 1, 2), r"expected a mask, or \(mask, id\)"),
        ((layer(SHAPE * 255), 1), "has mode RGBA, which holds no ids"),
        (layer(SHAPE * 0), "no pixel set"),
        (paletted(SHAPE * 0, (0, 0, 0)), "no pixel set"),
        (np.full(SIZE, 100, np.uint8), "no pixel set"),
    ],
)
def test_masks_that_are_refused(mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        region_mask(mask, SIZE)
