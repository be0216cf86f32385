"""A worst case as a picture: the image, the mask of FP32, that of the reduced precision, and where they differ."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.overlay import Color, palette

MASK, ONLY_FP32, ONLY_REDUCED = palette(3), palette(1), palette(0)
"""Colours: of a mask, of pixels that only FP32 has, of pixels that only the reduced precision has."""

_ALPHA = 0.5
_GAP = 6  # pixels between panels
_STROKE = 2  # pixels of a mask's outline
_GREY = (128, 128, 128)  # of the gaps: neither glares on a dark page nor sinks on a light one
_WIDEST = 1.5  # a panel's width, in heights
_QUALITY = 85


def worst_case_picture(
    image: Image.Image, reference_mask: NDArray[np.bool_], mask: NDArray[np.bool_], height: int = 240
) -> bytes:
    """Four panels side by side, as a JPEG: image, reference mask, mask, disagreement.

    Args:
        image: of any mode and size.
        reference_mask: bool [H, W] at the image's size, of FP32.
        mask: bool [H, W] at the image's size, of the reduced precision.
        height: of the picture in pixels; less where the image is much wider than high.

    In the last panel the image is grey, with ``ONLY_FP32`` and ``ONLY_REDUCED`` where one of the two has a mask; a
    pixel of the panel that stands for several is coloured by their share, doubled so that thin lines stay visible.

    Raises InputError for a mask that is not of the image's size.
    """
    for array in (reference_mask, mask):
        if array.shape != (image.height, image.width):
            raise InputError(
                f"a mask is {array.shape}; expected the image's height and width {(image.height, image.width)}"
            )
    scale = min(height / image.height, _WIDEST * height / image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.float32)
    grey = np.repeat(small.mean(axis=2, keepdims=True) * 0.6 + 60, 3, axis=2)
    missing, added = _shares(reference_mask & ~mask, size), _shares(mask & ~reference_mask, size)
    panels = (
        small,
        _outlined(small, _shares(reference_mask, size)),
        _outlined(small, _shares(mask, size)),
        _blend(_blend(grey, np.minimum(2 * missing, 1), ONLY_FP32), np.minimum(2 * added, 1), ONLY_REDUCED),
    )
    picture = Image.new("RGB", (len(panels) * (size[0] + _GAP) - _GAP, size[1]), _GREY)
    for index, panel in enumerate(panels):
        picture.paste(Image.fromarray((panel + 0.5).clip(0, 255).astype(np.uint8)), (index * (size[0] + _GAP), 0))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return data.getvalue()


def _shares(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bool [H, W] -> float32 [height, width] of ``size`` (width, height): the share of a pixel that is in the mask."""
    whole = Image.fromarray(mask.astype(np.float32))
    return np.asarray(whole.resize(size, Image.Resampling.BOX), np.float32)


def _blend(pixels: NDArray[np.float32], opacity: NDArray[np.float32], color: Color) -> NDArray[np.float32]:
    """Float32 [H, W, 3] under a colour of ``opacity`` [H, W]."""
    weights = opacity[..., None]
    blended: NDArray[np.float32] = pixels * (1 - weights) + np.array(color, np.float32) * weights
    return blended


def _outlined(pixels: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """A translucent mask with a solid line inside of its edge."""
    inside = shares >= 0.5
    core = inside
    for _ in range(_STROKE):
        wide = np.pad(core, 1, mode="edge")  # the image's border is no edge
        core = core & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    edge = inside & ~core
    return _blend(pixels, np.where(edge, np.float32(1), shares * np.float32(_ALPHA)), MASK)
