"""Intersections and unions of masks, gathered over many answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from xsam_edge.calibration.data.samples import BoolMask
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result


def mask_overlap(predicted: BoolMask, truth: BoolMask, ignore: BoolMask | None = None) -> tuple[int, int]:
    """Pixels of the intersection and of the union, without those of ``ignore``; masks are bool [H, W].

    Raises InputError where the masks differ in size.
    """
    if predicted.shape != truth.shape or (ignore is not None and ignore.shape != truth.shape):
        raise InputError(f"a mask is {predicted.shape}, its truth {truth.shape}; the annotations are for another image")
    if ignore is not None:
        predicted, truth = predicted & ~ignore, truth & ~ignore
    intersection = int(np.count_nonzero(predicted & truth))
    return intersection, int(np.count_nonzero(predicted)) + int(np.count_nonzero(truth)) - intersection


def first_mask(result: Result) -> BoolMask:
    """The mask of an answer that has one segment; empty where it has none."""
    return result.segments[0].mask if result.segments else np.zeros(result.image_size, bool)


def mean(values: Iterable[float]) -> float | None:
    """The mean, None of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


class Overlaps:
    """Intersections and unions: their sums' ratio (cIoU) and the mean of their ratios (gIoU).

    An empty answer to an empty truth has an IoU of 1, as in GRES (arXiv 2306.00968) and the official ``IouStat``.
    """

    def __init__(self) -> None:
        self._intersection = 0
        self._union = 0
        self._ious: list[float] = []

    def add(self, intersection: int, union: int) -> None:
        """One answer's pixels."""
        self._intersection += intersection
        self._union += union
        self._ious.append(intersection / union if union else 1.0)

    @property
    def count(self) -> int:
        """Answers added."""
        return len(self._ious)

    @property
    def cumulative(self) -> float | None:
        """Sum of intersections over sum of unions; 1 where all is empty, None of nothing."""
        if not self._ious:
            return None
        return self._intersection / self._union if self._union else 1.0

    @property
    def mean(self) -> float | None:
        """Mean IoU; None of nothing."""
        return mean(self._ious)


def by_kind(groups: Mapping[str, Overlaps], mean_name: str) -> dict[str, dict[str, Any]]:
    """``{kind: {n, ciou, <mean_name>}}`` in the kinds' order of appearance."""
    return {kind: {"n": group.count, "ciou": group.cumulative, mean_name: group.mean} for kind, group in groups.items()}
