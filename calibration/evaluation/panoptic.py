"""Panoptic segmentation: every pixel one segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.samples import Categories
from xsam_edge.calibration.evaluation.overlap import mean
from xsam_edge.calibration.evaluation.quality import MATCH, Quality, averages
from xsam_edge.calibration.evaluation.truth import paint
from xsam_edge.runtime.results.result import Result


class PanopticMetrics:
    """Panoptic quality, counted as ``pq_compute`` of panopticapi does.

    Void pixels leave the union of a match. A segment that no pixel of the truth belongs to is left out and counted,
    where panopticapi counts it as missed. A superfluous segment is ignored where more than half of it is void or
    lies in a crowd of its category; of several crowds of one category, the last counts.
    """

    def __init__(self, names: tuple[str, ...], things: int) -> None:
        self._names = names
        self._things = things
        self._qualities = [Quality() for _ in names]
        self._answered: list[bool] = []
        self._without_pixels = 0

    def add(self, ask: Categories, result: Result) -> None:
        """Count one picture."""
        self._answered.append(result.answered)
        truth = paint([segment.mask for segment in ask.segments], result.image_size) + 1
        predicted, labels = _predicted_segments(result)
        count = len(labels) + 1
        # Pixels of every pair [true, predicted]; row and column 0 are void.
        pairs = np.bincount((truth * count + predicted).ravel(), minlength=(len(ask.segments) + 1) * count)
        pairs = pairs.reshape(-1, count)
        true_areas, predicted_areas = pairs.sum(1), pairs.sum(0)
        used: set[int] = set()
        matched: set[int] = set()
        for true, index in np.argwhere(pairs[1:, 1:]).tolist():
            segment = ask.segments[true]
            if segment.is_crowd or segment.label != labels[index]:
                continue
            both = int(pairs[true + 1, index + 1])
            union = int(true_areas[true + 1]) + int(predicted_areas[index + 1]) - both - int(pairs[0, index + 1])
            if both / union > MATCH:
                quality = self._qualities[segment.label]
                quality.matched += 1
                quality.iou += both / union
                used.add(index)
                matched.add(true)
        crowds: dict[int, int] = {}
        for true, segment in enumerate(ask.segments):
            if not true_areas[true + 1]:
                self._without_pixels += 1
            elif segment.is_crowd:
                crowds[segment.label] = true
            elif true not in matched:
                self._qualities[segment.label].missed += 1
        for index, label in enumerate(labels):
            area = int(predicted_areas[index + 1])
            if index in used or not area or label >= len(self._qualities):  # a phrase of the answer, not a category
                continue
            ignored = int(pairs[0, index + 1])
            if label in crowds:
                ignored += int(pairs[crowds[label] + 1, index + 1])
            if ignored / area <= MATCH:
                self._qualities[label].superfluous += 1

    def counts(self) -> npt.NDArray[np.float64]:
        """``iou``, ``matched``, ``superfluous`` and ``missed`` of every category, [categories, 4]."""
        return np.array([[item.iou, item.matched, item.superfluous, item.missed] for item in self._qualities])

    def result(self) -> dict[str, Any]:
        """``n`` (pictures), ``pq``, ``sq``, ``rq`` (also of ``_things``, ``_stuff``), ``answered``, ``per_category``,
        ``without_pixels`` (segments that were left out).

        Averages are over the categories that are in a truth or in an answer; ``per_category`` holds these.
        """
        return {
            "n": len(self._answered),
            **averages(self._qualities),
            **averages(self._qualities[: self._things], "_things"),
            **averages(self._qualities[self._things :], "_stuff"),
            "answered": mean(self._answered),
            "without_pixels": self._without_pixels,
            "per_category": {
                name: {"pq": quality.pq, "sq": quality.sq, "rq": quality.rq}
                for name, quality in zip(self._names, self._qualities, strict=True)
                if quality
            },
        }


def _predicted_segments(result: Result) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Which segment each pixel belongs to, from 1 on, 0 = none, int64 [H, W]; and the segments' labels."""
    if result.id_map is None:
        return np.zeros(result.image_size, np.int64), []
    ids = [segment.id for segment in result.segments]
    numbers = np.zeros(max([int(result.id_map.max()), *ids, 0]) + 1, np.int64)
    numbers[ids] = np.arange(1, len(ids) + 1)
    return numbers[result.id_map], [segment.label_id for segment in result.segments]
