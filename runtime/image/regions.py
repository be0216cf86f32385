"""Regions that a user points at: boxes, points and masks become tokens of the language model.

First a bool mask at the image's size, then points inside it, then features sampled at the points and pooled
(``NaiveSamplerModel`` in ``model/modules/sampler/modeling_sampler.py`` of the official code).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime import arguments
from xsam_edge.runtime.bundle.settings import RegionSampling
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.content import is_content
from xsam_edge.runtime.image.load import ImageSource, decoded_image
from xsam_edge.runtime.image.mask_values import of_picture, of_values

MaskSource = ImageSource | tuple[ImageSource, int]
BoolMask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

_BOX_SLACK = 1.0  # pixels that a box may exceed the image by: detectors round
_POINT_RADIUS = 1 / 64  # of the longest edge


def box_mask(box: Sequence[float], size: tuple[int, int]) -> BoolMask:
    """Return the mask of a box, bool [H, W] with ``size`` = (H, W).

    ``box`` is (x0, y0, x1, y1) in pixels; x1 and y1 are exclusive, and a pixel that is covered in part belongs to it.

    Raises InputError for a box that is not four finite numbers, is empty, or exceeds the image by more than a pixel.
    """
    x0, y0, x1, y1 = box = arguments.reals("a box", box, 4, "four finite numbers (x0, y0, x1, y1)")
    height, width = size
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"the box {_show(box)} is empty; it must have x0 < x1 and y0 < y1")
    outside = min(x0, y0) < -_BOX_SLACK or x1 > width + _BOX_SLACK or y1 > height + _BOX_SLACK
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(width, math.ceil(x1)), min(height, math.ceil(y1))
    if outside or right <= left or bottom <= top:
        raise InputError(
            f"the box {_show(box)} does not lie in the image, {width} x {height} pixels; "
            "give pixels of the image at its own size"
        )
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def point_mask(point: Sequence[float], size: tuple[int, int]) -> BoolMask:
    """Return the mask of a point (x, y) in pixels, bool [H, W] with ``size`` = (H, W): a disc clipped to the image.

    Its radius is 1/64 of the longest edge, and it always holds the pixel of the point itself: the model was trained
    with discs of 10 pixels (``enhance_with_circles``) on images of about 640, so this looks the same at any size.

    Raises InputError for a point that is not two finite numbers or lies outside the image.
    """
    x, y = point = arguments.reals("a point", point, 2, "two finite numbers (x, y)")
    height, width = size
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            f"the point {_show(point)} lies outside the image, {width} x {height} pixels; "
            "give pixels of the image at its own size, x first"
        )
    column, row = int(x), int(y)
    radius = max(size) * _POINT_RADIUS
    reach = math.ceil(radius)
    rows = np.arange(max(0, row - reach), min(height, row + reach + 1))[:, None]
    columns = np.arange(max(0, column - reach), min(width, column + reach + 1))
    mask = np.zeros(size, bool)
    mask[rows, columns] = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return mask


def region_mask(source: MaskSource, size: tuple[int, int]) -> BoolMask:
    """Return a mask that the user drew, bool [H, W] with ``size`` = (H, W).

    ``source`` is a bool or integer array [H, W], a Pillow image, a path or a file's content; or one of these with an
    id, whose pixels are the region: ``("ids.png", 3)``. Without, what :mod:`mask_values` finds: the shape may be in
    black and white (0 and another value; of greys the upper half), in what is not transparent, or in a palette of two
    colours.

    Raises InputError for a mask of another size, another type, without a pixel or that might mean several regions, and
    for a file that cannot be read.
    """
    picture, chosen = _with_id(source) if isinstance(source, tuple) else (source, None)
    mask = _from_array(picture, chosen) if isinstance(picture, np.ndarray) else _from_image(picture, chosen)
    if mask.shape != tuple(size):
        raise InputError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, the image {size[1]} x {size[0]}; "
            "give a mask of the image's own size"
        )
    if not mask.any():
        raise InputError("the mask has no pixel set; mark at least one pixel with 1 (or a grey above the half)")
    return mask


def sample_points(mask: npt.NDArray[np.uint8], count: int) -> Floats:
    """Return ``count`` points of a mask [H, W], float32 [count, 2]: (y, x) over (H, W), without a half-pixel.

    The official code draws them at random. Here they lie at even strides in raster order, so that they cover the
    region whatever its shape; a mask of fewer pixels repeats each about equally often. The order then steps through
    that list by about 0.618 of its length: pooling averages runs of consecutive points, and in training every run is
    drawn from the whole region, so no run may come from one corner.

    Raises InputError if the mask has no pixel.
    """
    height, width = mask.shape
    inside = np.flatnonzero(mask)
    if not inside.size:
        raise InputError("the region has no pixel to sample; give a larger region")
    strided = (2 * np.arange(count, dtype=np.int64) + 1) * inside.size // (2 * count)
    chosen = inside[strided[np.arange(count, dtype=np.int64) * _spreading_step(count) % count]]
    points = np.stack([chosen // width, chosen % width], axis=1).astype(np.float32)
    points /= np.array([height, width], np.float32)
    return points


def sample_regions(feature_map: Floats, points: Floats, sampling: RegionSampling) -> Floats:
    """Return the tokens of R regions, float32 [R, tokens, C], from a feature map [h, w, C] and points [R, n, 2].

    Features are interpolated bilinearly with the corners aligned (``grid_sample(align_corners=True)``), so that
    (y, x) in 0..1 spans the centres of the outer cells, and then pooled over ``sampling.group`` consecutive points.

    Raises InputError if n is not ``sampling.points``.
    """
    if points.ndim != 3 or points.shape[1:] != (sampling.points, 2):
        raise InputError(f"points are {list(points.shape)}, expected [regions, {sampling.points}, 2]")
    pool = np.max if sampling.pooling == "max" else np.mean
    used = sampling.tokens * sampling.group
    out = np.empty((len(points), sampling.tokens, feature_map.shape[-1]), np.float32)
    for index, region in enumerate(points):  # one at a time: 256 points x 3,072 channels are 3 MB
        features = _interpolate(feature_map, region)[:used]
        out[index] = pool(features.reshape(sampling.tokens, sampling.group, -1), axis=1)
    return out


def _interpolate(feature_map: Floats, points: Floats) -> Floats:
    """Return bilinear samples [n, C] of [h, w, C] at (y, x) in 0..1."""
    last = np.array(feature_map.shape[:2]) - 1
    # Through -1..1 and back, as grid_sample does, for the same rounding in float32.
    unit = ((2 * np.clip(points, 0, 1).astype(np.float32) - 1) + 1) / 2
    position = unit * last.astype(np.float32)
    low = np.minimum(position.astype(np.int64), last)
    high = np.minimum(low + 1, last)
    weight_y, weight_x = np.split(position - low.astype(np.float32), 2, axis=1)
    (y0, x0), (y1, x1) = low.T, high.T
    upper = feature_map[y0, x0] * (1 - weight_x) + feature_map[y0, x1] * weight_x
    lower = feature_map[y1, x0] * (1 - weight_x) + feature_map[y1, x1] * weight_x
    return np.asarray(upper * (1 - weight_y) + lower * weight_y, np.float32)


def _spreading_step(count: int) -> int:
    """Return the step nearest to 0.618 of ``count`` that visits every index once (coprime with it)."""
    target = 0.6180339887 * count
    return min(
        (step for step in range(1, count + 1) if math.gcd(step, count) == 1), key=lambda step: abs(step - target)
    )


def _with_id(given: tuple[Any, ...]) -> tuple[Any, int]:
    if len(given) != 2:
        raise arguments.wrong("a mask", given, "a mask, or (mask, id)")
    return given[0], arguments.count("the id of a mask", given[1], -1)


def _from_array(array: npt.NDArray[Any], chosen: int | None) -> BoolMask:
    if array.ndim != 2 or not (array.dtype == bool or np.issubdtype(array.dtype, np.integer)):
        raise InputError(
            f"a mask array must be [H, W] of bool or integers, not {list(array.shape)} of {array.dtype}; "
            "compare it with a threshold first"
        )
    return of_values(array, chosen)


def _from_image(source: ImageSource, chosen: int | None) -> BoolMask:
    if not isinstance(source, (str, os.PathLike, Image.Image)) and not is_content(source):
        raise InputError(
            f"a mask must be an array, a Pillow image, a path or the content of a file, not {type(source).__name__}"
        )
    return of_picture(*decoded_image(source), chosen)


def _show(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in values) + ")"
