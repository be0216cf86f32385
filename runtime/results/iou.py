"""Boxes of masks, and how far they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.errors import InputError

Box = tuple[float, float, float, float]


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two bool masks of one shape; 1 when both are empty.

    Raises InputError where the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError(f"masks of shapes {a.shape} and {b.shape}; expected two of one shape")
    intersection = int(np.count_nonzero(a & b))
    union = int(np.count_nonzero(a)) + int(np.count_nonzero(b)) - intersection
    return intersection / union if union else 1.0


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """Tight box (x0, y0, x1, y1) of a bool mask [H, W] in pixels, x1 and y1 exclusive; zeros for an empty mask."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(0))
    return float(columns[0]), float(top), float(columns[-1] + 1), float(bottom)


def map_boxes(id_map: NDArray[np.int32], count: int) -> tuple[list[Box], list[int]]:
    """The box, as of ``mask_box``, and the area in pixels of each id from 0 to ``count`` - 1 of a map [H, W].

    Other values of the map are left out.
    """
    height, width = id_map.shape
    areas = np.zeros((height, count + 1), np.int64)
    columns = np.zeros((count + 1, width), bool)
    every = np.arange(width)
    for row, ids in enumerate(id_map):
        known = np.where((ids < 0) | (ids >= count), count, ids)
        areas[row] = np.bincount(known, minlength=count + 1)
        columns[known, every] = True
    boxes: list[Box] = []
    for value in range(count):
        rows, places = np.flatnonzero(areas[:, value]), np.flatnonzero(columns[value])
        box = (places[0], rows[0], places[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)
        boxes.append((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return boxes, [int(area) for area in areas[:, :count].sum(0)]


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 when they do not overlap."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)
