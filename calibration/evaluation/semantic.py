"""Semantic segmentation: every pixel one category."""

from __future__ import annotations

from typing import Any

import numpy as np

from xsam_edge.calibration.data.samples import Categories
from xsam_edge.calibration.evaluation.overlap import mean
from xsam_edge.calibration.evaluation.truth import VOID, paint
from xsam_edge.runtime.results.result import Result


class SemanticMetrics:
    """Mean IoU of categories, over the pixels of all pictures; pixels without a truth are not judged."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        # Pixels of every pair [true, predicted]; the last column is pixels that no category was found for.
        self._pairs = np.zeros((len(names), len(names) + 1), np.int64)
        self._answered: list[bool] = []

    def add(self, ask: Categories, result: Result) -> None:
        """Count one picture."""
        self._answered.append(result.answered)
        numbers = paint([segment.mask for segment in ask.segments], result.image_size)
        labels = np.array([*(segment.label for segment in ask.segments), VOID], np.int64)
        truth = labels[numbers]  # VOID is the last
        judged = truth != VOID
        count = len(self._names) + 1
        predicted = np.full(truth.shape, count - 1) if result.id_map is None else result.id_map
        pairs = np.bincount(truth[judged] * count + predicted[judged], minlength=self._pairs.size)
        self._pairs += pairs.reshape(self._pairs.shape)

    def result(self) -> dict[str, Any]:
        """``n`` (pictures), ``miou``, ``answered``, ``per_category``: of the categories in a truth or in an answer."""
        intersection = np.diagonal(self._pairs)
        union = self._pairs.sum(1) + self._pairs[:, :-1].sum(0) - intersection
        ious = {
            name: float(both / either)
            for name, both, either in zip(self._names, intersection, union, strict=True)
            if either
        }
        return {
            "n": len(self._answered),
            "miou": mean(ious.values()),
            "answered": mean(self._answered),
            "per_category": ious,
        }
