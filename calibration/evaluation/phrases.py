"""Referring and reasoning: one phrase or sentence, one mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.calibration.evaluation.overlap import Overlaps, by_kind, first_mask, mask_overlap, mean
from xsam_edge.runtime.results.result import Result


class PhraseMetrics:
    """cIoU and gIoU of the phrases that are in their picture, and how well scores tell those that are not.

    ``ciou`` is the sum of intersections over the sum of unions, ``giou`` the mean IoU, as the literature on RefCOCO,
    ReasonSeg and GRES (arXiv 2306.00968) defines them; pixels to ignore count for neither. Absent phrases take no
    part in them, unlike in GRES, where every phrase must be accepted or refused: this model always answers, so that its
    score (0 without a segment) is judged instead.
    """

    def __init__(self) -> None:
        self._all = Overlaps()
        self._kinds: dict[str, Overlaps] = {}
        self._scores: list[float] = []
        self._absent: list[float] = []
        self._answered: list[bool] = []

    def add(self, ask: Phrase, result: Result) -> None:
        """Judge one answer."""
        score = result.segments[0].score if result.segments else 0.0
        self._answered.append(result.answered)
        if ask.mask is None:
            self._absent.append(score)
            return
        self._scores.append(score)
        overlap = mask_overlap(first_mask(result), ask.mask(), ask.ignore() if ask.ignore else None)
        self._all.add(*overlap)
        if ask.kind:
            self._kinds.setdefault(ask.kind, Overlaps()).add(*overlap)

    def result(self) -> dict[str, Any]:
        """``n`` (phrases in their picture), ``ciou``, ``giou``, ``answered``; ``kinds`` and ``absent`` where there are.

        ``answered`` is the share of all answers, those to absent phrases too, with exactly one ``<SEG>``.
        ``roc_area`` is the chance that a phrase in its picture scores higher than an absent one.
        """
        metrics: dict[str, Any] = {
            "n": self._all.count,
            "ciou": self._all.cumulative,
            "giou": self._all.mean,
            "answered": mean(self._answered),
        }
        if self._kinds:
            metrics["kinds"] = by_kind(self._kinds, "giou")
        if self._absent:
            metrics["absent"] = {
                "n": len(self._absent),
                "mean_score": mean(self._absent),
                "present_mean_score": mean(self._scores),
                "roc_area": roc_area(self._scores, self._absent),
            }
        return metrics


def roc_area(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """The chance that a positive scores higher than a negative, ties at half (Mann-Whitney); None without both."""
    if not len(positive) or not len(negative):
        return None
    ranked = np.sort(np.asarray(negative, np.float64))
    scores = np.asarray(positive, np.float64)
    below, up_to = np.searchsorted(ranked, scores, "left"), np.searchsorted(ranked, scores, "right")
    return float((below + up_to).sum() / 2 / (len(scores) * len(ranked)))
