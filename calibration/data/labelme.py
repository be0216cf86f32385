"""Shapes of LabelMe, by their ``shape_type``, as masks.

Polygons are drawn as the tools of ReasonSeg do, with OpenCV; rectangles (two corners), circles (the centre and a point
of the edge) and masks (a PNG, placed at its box) as LabelMe itself does. Lines and points enclose nothing and are
refused.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from xsam_edge.calibration.data.files import ADVICE, Size
from xsam_edge.calibration.data.masks import outline_mask
from xsam_edge.calibration.data.samples import BoolMask
from xsam_edge.runtime.bundle.constraints import between
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import MAX_PIXELS

Coordinate = Annotated[float, between(-100_000, 100_000)]  # pixels
Point = tuple[Coordinate, Coordinate]

_POINTS = {"polygon": None, "oriented_rectangle": 4, "rectangle": 2, "circle": 2, "mask": 2}
_FEWEST = 3  # of a polygon


@dataclass(frozen=True)
class ShapeRecord:
    """A shape as a file has it."""

    extra_keys: ClassVar[bool] = True

    label: str
    points: Any = None  # those of a "flag" mean nothing
    shape_type: str | None = None
    mask: Any = None


@dataclass(frozen=True)
class Shape:
    """A region: ``points`` (x, y) of a kind of shape; ``png`` is the file of a "mask"."""

    kind: str
    points: tuple[Point, ...]
    png: bytes = b""

    def mask(self, size: Size) -> BoolMask:
        """What it covers of an image, bool [H, W]."""
        if self.kind == "circle":
            centre, edge = self.points
            return _circle(centre, edge, size)
        if self.kind == "rectangle":
            (x0, y0), (x1, y1) = self.points
            return outline_mask([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], size)
        if self.kind == "mask":
            return _placed(_pixels(self.png), self.points, size)
        return outline_mask(self.points, size)


def parse_shape(record: ShapeRecord, where: str, at: str, size: Size | None = None) -> Shape | None:
    """A shape that encloses a region; None for one without an outline (no points, two of a polygon, a circle without a
    radius, an empty mask) and, where the image's ``size`` is given, outside of it.

    Raises InputError, which names the file ``where`` and the place ``at`` in it, for a type that cannot be a region,
    a number of points that its type does not have, and a mask that is damaged or does not fill its box.
    """
    kind = record.shape_type or "polygon"
    if kind not in _POINTS:
        raise InputError(
            f"{where}: {at}.shape_type is {kind!r}, which encloses no region; expected one of {', '.join(_POINTS)}, or "
            'the label "flag" for what means nothing'
        )
    points = from_json(tuple[Point, ...] | None, record.points, where, at=f"{at}.points", advice=ADVICE) or ()  # type: ignore[arg-type]
    count = _POINTS[kind]
    if not points or (count is None and len(points) < _FEWEST):
        return None
    if count not in (None, len(points)):
        raise InputError(f"{where}: {at}.points are {len(points)}; expected the {count} of a {kind}; {ADVICE}")
    if kind == "circle" and points[0] == points[1]:
        return None
    if size and _is_outside(kind, points, size):
        return None
    if kind != "mask":
        return Shape(kind, points)
    points = _corners(points)
    png = _decoded(record.mask, f"{where}: {at}.mask")
    pixels = _pixels(png, f"{where}: {at}.mask")
    if not pixels.any():
        return None
    box = _extent(points)
    if box and (pixels.shape[0] < box[0] or pixels.shape[1] < box[1]):
        raise InputError(
            f"{where}: {at}.mask is {pixels.shape[1]} x {pixels.shape[0]} pixels, its box {box[1]} x {box[0]}; {ADVICE}"
        )
    return Shape(kind, points, png)


def _circle(centre: Point, edge: Point, size: Size) -> BoolMask:
    (x, y), radius = centre, math.dist(centre, edge)
    image = Image.new("L", size[::-1])
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
    return np.asarray(image).astype(bool)


def _is_outside(kind: str, points: Sequence[Point], size: Size) -> bool:
    (x0, y0), (x1, y1) = _corners(points)
    if kind == "circle":
        (x, y), radius = points[0], math.dist(*points)
        x0, y0, x1, y1 = x - radius, y - radius, x + radius, y + radius
    return x1 <= -1 or y1 <= -1 or x0 >= size[1] or y0 >= size[0]


def _corners(points: Sequence[Point]) -> tuple[Point, Point]:
    """The upper left and the lower right corner of the box around points."""
    x, y = zip(*points, strict=True)
    return (min(x), min(y)), (max(x), max(y))


def _extent(points: Sequence[Point]) -> Size | None:
    """(height, width) of a box of whole pixels, both ends included; None where the box has fractions.

    LabelMe rounds the corners of the latter one by one, so that they do not tell how large the mask is.
    """
    (x0, y0), (x1, y1) = points
    whole = all(float(value).is_integer() for value in (x0, y0, x1, y1))
    return (int(y1 - y0) + 1, int(x1 - x0) + 1) if whole else None


def _placed(pixels: BoolMask, points: Sequence[Point], size: Size) -> BoolMask:
    """A mask at the upper left corner of its box; what reaches beyond the box or the image is cut off."""
    height, width = _extent(points) or pixels.shape
    x, y = round(points[0][0]), round(points[0][1])
    mask = np.zeros(size, bool)
    part = pixels[max(0, -y) : max(0, min(height, size[0] - y)), max(0, -x) : max(0, min(width, size[1] - x))]
    mask[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
    return mask


def _decoded(value: object, where: str) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:  # characters that are no base64
        pass
    raise InputError(f"{where} is no base64 text; expected that of a PNG; {ADVICE}")


def _pixels(png: bytes, where: str = "a mask") -> BoolMask:
    try:
        image = Image.open(io.BytesIO(png), formats=("PNG",))
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels")
        pixels = np.asarray(image)
    except Exception as error:  # decoders raise anything on damaged data
        raise InputError(f"{where} is no PNG that can be read ({error}); {ADVICE}") from None
    if pixels.ndim != 2:
        raise InputError(f"{where} is a PNG of mode {image.mode}; expected one channel; {ADVICE}")
    return pixels.astype(bool)
