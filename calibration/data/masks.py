"""Annotated masks: COCO polygons and run lengths, and the outlines of LabelMe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.coco_api import coco_module
from xsam_edge.calibration.data.files import Size
from xsam_edge.calibration.data.samples import BoolMask
from xsam_edge.runtime.bundle.constraints import PositiveInt
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle

_FURTHEST = 1e5  # pixels; pycocotools does not check coordinates
_FIXED = 1 << 16  # OpenCV's fixed point


@dataclass(frozen=True)
class _RunsRecord:
    extra_keys: ClassVar[bool] = True

    size: tuple[PositiveInt, PositiveInt]
    counts: Any  # text, or numbers: so many that numpy checks them


@dataclass(frozen=True, eq=False)
class Runs:
    """One run-length encoded mask, compressed or not."""

    size: Size
    counts: str | npt.NDArray[np.int64]
    covers: bool  # a pixel


@dataclass(frozen=True, eq=False)
class CocoSegmentation:
    """A COCO segmentation: the union of polygons (x, y, x, y, ...) and of run-length encoded masks."""

    polygons: tuple[npt.NDArray[np.float64], ...]
    runs: tuple[Runs, ...]
    where: str

    @property
    def is_empty(self) -> bool:
        """Whether it has no outline: nothing is drawn of it, and all its run lengths are of zeros."""
        return not self.polygons and not any(runs.covers for runs in self.runs)

    def mask(self, size: Size) -> BoolMask:
        """The mask, bool [H, W]. Raises InputError where it is encoded for another size, or damaged."""
        mask = np.zeros(size, bool)
        for runs in self.runs:
            if runs.size != tuple(size):
                raise InputError(f"{self.where}: an RLE is for {list(runs.size)}, the image is {list(size)}")
            try:
                mask |= rle.decode(runs.size, runs.counts)  # type: ignore[arg-type]
            except InputError as error:
                raise InputError(f"{self.where}: {error}") from None
        if self.polygons:
            api = coco_module("mask", "a polygon")
            outlines = api.frPyObjects([polygon.tolist() for polygon in self.polygons], *size)
            mask |= rle.decode(size, api.merge(outlines)["counts"])
        return mask


def parse_segmentation(value: Any, where: str, size: Size | None = None) -> CocoSegmentation:
    """Check a COCO segmentation: a list of polygons, an RLE object, or a list of those.

    Polygons of fewer than three points, of points on one line and, where the image's ``size`` is given, outside of it
    cover nothing and are left out; None stands for no outline at all.

    Raises:
        InputError: it is neither, or holds numbers that no mask has.
        XSamError: there are polygons, but no pycocotools to draw them exactly.
    """
    parts = value if isinstance(value, list) else [] if value is None else [value]
    polygons, runs = [], []
    for part in parts:
        if isinstance(part, dict):
            runs.append(_parse_runs(part, where))
        else:
            polygons.append(_parse_polygon(part, where))
    if polygons:
        coco_module("mask", f"{where}: a polygon")
    return CocoSegmentation(tuple(polygon for polygon in polygons if _covers(polygon, size)), tuple(runs), where)


def _covers(polygon: npt.NDArray[np.float64], size: Size | None) -> bool:
    """Whether an outline encloses something, of an image of ``size`` where it is known."""
    if len(polygon) < 6:
        return False
    x, y = polygon[0::2], polygon[1::2]
    height, width = size or (np.inf, np.inf)
    if x.max() <= 0 or y.max() <= 0 or x.min() >= width or y.min() >= height:
        return False
    across, down = x - x[0], y - y[0]
    furthest = int(np.argmax(across**2 + down**2))
    return bool((across * down[furthest] != down * across[furthest]).any())


def _parse_polygon(value: Any, where: str) -> npt.NDArray[np.float64]:
    points = _numbers(value, where, "a polygon")
    if len(points) % 2 or not np.isfinite(points).all() or (len(points) and np.abs(points).max() > _FURTHEST):
        raise InputError(f"{where}: a polygon is not a list of finite x, y, x, y, ... in pixels")
    return points.astype(np.float64)


def _parse_runs(value: dict[str, Any], where: str) -> Runs:
    record = from_json(_RunsRecord, value, where)
    counts = record.counts
    if not isinstance(counts, str):
        counts = _numbers(counts, where, "an RLE's counts")
        if counts.dtype.kind != "i":
            raise InputError(f"{where}: an RLE's counts are neither text nor whole numbers")
    try:
        lengths = rle.decompress(counts) if isinstance(counts, str) else counts
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Runs(record.size, counts, bool(lengths[1::2].any()))


def _numbers(value: Any, where: str, what: str) -> npt.NDArray[Any]:
    try:
        numbers = np.array(value) if value else np.zeros(0, np.int64)
    except ValueError:  # lists of several lengths
        numbers = np.zeros(0, object)
    if not isinstance(value, list) or numbers.ndim != 1 or numbers.dtype.kind not in "if":
        raise InputError(f"{where}: {what} is not a list of numbers")
    return numbers


def outline_mask(points: Sequence[tuple[float, float]], size: Size) -> BoolMask:
    """The inside of a closed outline of (x, y) and the outline itself, bool [H, W].

    Coordinates lose their fraction. Pixel by pixel what OpenCV's ``fillPoly`` and ``polylines`` draw, where the points
    lie in the image: rows are filled between edges by the even-odd rule, the outline is 8-connected.
    """
    height, width = size
    x, y = np.trunc(np.asarray(points, np.float64)).astype(np.int64).reshape(-1, 2).T
    edges = list(zip(x.tolist(), y.tolist(), np.roll(x, -1).tolist(), np.roll(y, -1).tolist(), strict=True))
    mask = _filled(edges, height, width)
    for edge in edges:
        columns, rows = _line(*edge)
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        mask[rows[inside], columns[inside]] = True
    return mask


def _filled(edges: Sequence[tuple[int, int, int, int]], height: int, width: int) -> BoolMask:
    rows, cuts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for x0, y0, x1, y1 in edges:
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        step = abs(x1 - x0) * _FIXED // (y1 - y0) * (1 if x1 >= x0 else -1)
        crossed = np.arange(max(y0, 0), min(y1, height))
        rows.append(crossed)
        cuts.append(x0 * _FIXED + step * (crossed - y0))
    row, cut = np.concatenate(rows), np.concatenate(cuts)
    order = np.lexsort((cut, row))
    row, cut = row[order], cut[order]
    left = np.clip(-(-cut[0::2] // _FIXED), 0, width)
    right = np.maximum(np.clip(cut[1::2] // _FIXED + 1, 0, width), left)
    changes = np.zeros((height, width + 1), np.int32)
    np.add.at(changes, (row[0::2], left), 1)
    np.add.at(changes, (row[0::2], right), -1)
    return np.asarray(changes.cumsum(1)[:, :width] > 0)


def _line(x0: int, y0: int, x1: int, y1: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Columns and rows of an 8-connected line, from left to right; halves round towards its start."""
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    across, down, sign = x1 - x0, abs(y1 - y0), 1 if y1 >= y0 else -1
    length = max(across, down)
    steps = np.arange(length + 1)
    minor = (2 * min(across, down) * steps + length - 1) // (2 * length) if length else steps
    if across >= down:
        return x0 + steps, y0 + sign * minor
    return x0 + minor, y0 + sign * steps
