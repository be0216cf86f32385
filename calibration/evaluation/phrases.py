"""Referring and reasoning: one phrase or sentence, one mask."""

from __future__ import annotations

from typing import Any

from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.calibration.evaluation.overlap import Overlaps, by_kind, first_mask, mask_overlap, mean
from xsam_edge.calibration.evaluation.rejection import OperatingPoint, Scores, Share
from xsam_edge.runtime.postprocess.readers import Threshold
from xsam_edge.runtime.results.result import Result

RATES = (0.01, 0.05)
"""Rates of false alarms at which hits are told."""


class PhraseMetrics:
    """cIoU and gIoU of the phrases that are in their picture, and how well scores tell those that are not.

    ``ciou`` is the sum of intersections over the sum of unions, ``giou`` the mean IoU, as the literature on RefCOCO,
    ReasonSeg and GRES (arXiv 2306.00968) defines them; pixels to ignore count for neither. Absent phrases take no
    part in them, as the official rule answers each of them with a mask; with a ``threshold`` the measures of GRES, in
    which they do, are told besides.
    """

    def __init__(self, threshold: Threshold = "official") -> None:
        self._threshold = threshold
        self._all = Overlaps()
        self._with_absent = Overlaps()
        self._kinds: dict[str, Overlaps] = {}
        self._scores: list[float] = []
        self._absent: list[float] = []
        self._hits = 0
        self._false_alarms = 0
        self._answered: list[bool] = []

    def add(self, ask: Phrase, result: Result) -> None:
        """Judge one answer."""
        score = result.best_score or 0.0
        self._answered.append(result.answered)
        found = first_mask(result)
        if ask.mask is None:
            self._absent.append(score)
            self._false_alarms += result.found
            self._with_absent.add(0, int(found.sum()))
            return
        self._scores.append(score)
        self._hits += result.found
        overlap = mask_overlap(found, ask.mask(), ask.ignore() if ask.ignore else None)
        self._all.add(*overlap)
        self._with_absent.add(*overlap)
        if ask.kind:
            self._kinds.setdefault(ask.kind, Overlaps()).add(*overlap)

    def result(self) -> dict[str, Any]:
        """``n`` (phrases in their picture), ``ciou``, ``giou``, ``answered``; ``kinds`` and ``absent`` where there are.

        ``answered`` is the share of all answers, those to absent phrases too, with exactly one ``<SEG>``.

        Of ``absent``, ``n`` and ``n_present`` count asks, ``roc_area`` is the chance that a phrase in its picture
        scores higher than an absent one, ``roc`` the curve, ``at`` holds by rate ("0.01", "0.05") the least threshold
        that keeps false alarms to it and what it does, None where no threshold up to 1 does. ``in_use`` is the
        threshold that was asked with, if any: what was found at it, and ``gres``, of all phrases: N-acc and T-acc,
        the shares of the absent that are refused and of the others that are not, ``ciou`` and ``giou``.
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
            metrics["absent"] = self._rejection()
        return metrics

    def _rejection(self) -> dict[str, Any]:
        scores = Scores(self._scores, self._absent)
        metrics: dict[str, Any] = {
            "n": len(self._absent),
            "n_present": len(self._scores),
            "mean_score": mean(self._absent),
            "present_mean_score": mean(self._scores),
            "roc_area": scores.roc_area(),
            "at": {f"{rate:g}": _point(scores, rate) for rate in RATES},
            "roc": scores.roc(),
        }
        if self._threshold != "official":
            alarms, hits = Share(self._false_alarms, len(self._absent)), Share(self._hits, len(self._scores))
            gres = {
                "n_acc": 1 - self._false_alarms / len(self._absent),
                "t_acc": hits.rate,
                "ciou": self._with_absent.cumulative,
                "giou": self._with_absent.mean,
            }
            metrics["in_use"] = {**OperatingPoint(self._threshold, alarms, hits).to_json(), "gres": gres}
        return metrics


def _point(scores: Scores, rate: float) -> dict[str, Any] | None:
    threshold = scores.least_threshold(rate)
    return None if threshold is None else scores.at(threshold).to_json()
