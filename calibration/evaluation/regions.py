"""Regions: the object under one, and everything that resembles one of several."""

from __future__ import annotations

from typing import Any

from xsam_edge.calibration.data.samples import Regions
from xsam_edge.calibration.evaluation.average_precision import AveragePrecision, Object
from xsam_edge.calibration.evaluation.overlap import Overlaps, by_kind, first_mask, mask_overlap, mean
from xsam_edge.calibration.evaluation.quality import Quality, count_masks
from xsam_edge.runtime.results.result import Result

KEPT = 0.5  # official score of the masks that count for panoptic quality; average precision takes all


class RegionMetrics:
    """IoU of the object under a region; quality and average precision of what resembles one.

    The label of what resembles a region is the region's number, which means nothing in the next picture. So masks are
    matched label by label within a picture, and matches are pooled into one quality. For average precision a label
    of a picture is a picture of its own, with a single category. Quality is that of the masks that score ``kept``.
    """

    def __init__(self, kept: float = KEPT) -> None:
        self._kept = kept
        self._all = Overlaps()
        self._kinds: dict[str, Overlaps] = {}
        self._quality = Quality()
        self._precision = AveragePrecision()
        self._similar = 0
        self._answered: list[bool] = []

    def add(self, ask: Regions, result: Result) -> None:
        """Judge one answer."""
        self._answered.append(result.answered)
        if ask.similar:
            self._similar += 1
            for label in range(len(ask.prompts)):
                self._add_similar(ask, result, label)
            return
        overlap = mask_overlap(first_mask(result), ask.segments[0].mask())
        self._all.add(*overlap)
        if ask.kind:
            self._kinds.setdefault(ask.kind, Overlaps()).add(*overlap)

    def _add_similar(self, ask: Regions, result: Result, label: int) -> None:
        truth = [
            Object(segment.mask(), is_crowd=segment.is_crowd) for segment in ask.segments if segment.label == label
        ]
        predicted = [
            Object(segment.mask, score=segment.score) for segment in result.segments if segment.label_id == label
        ]
        self._precision.add(truth, predicted)
        count_masks(
            self._quality,
            [item.mask for item in predicted if item.score >= self._kept],
            [item.mask for item in truth if not item.is_crowd],
            [item.mask for item in truth if item.is_crowd],
        )

    def result(self) -> dict[str, Any]:
        """``n``, ``answered`` of all; ``miou``, ``ciou``, ``kinds`` of single regions; the rest of similar ones."""
        metrics: dict[str, Any] = {"n": len(self._answered), "answered": mean(self._answered)}
        if self._all.count:
            metrics |= {"n_interactive": self._all.count, "miou": self._all.mean, "ciou": self._all.cumulative}
        if self._kinds:
            metrics["kinds"] = by_kind(self._kinds, "miou")
        if self._similar:
            quality, precision = self._quality, self._precision.result()
            metrics |= {"n_similar": self._similar, "pq": quality.pq, "sq": quality.sq, "rq": quality.rq}
            metrics |= {"ap": precision["ap"], "ap50": precision["ap50"]}
        return metrics
