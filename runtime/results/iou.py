"""Overlap of masks and boxes."""

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


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 when they do not overlap."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)
