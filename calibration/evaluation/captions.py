"""Grounded captions: phrases of a generated caption, each with a mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.samples import Caption
from xsam_edge.calibration.evaluation.overlap import mask_overlap, mean
from xsam_edge.runtime.results.result import Result

TEXT_SIMILARITY = 0.5
MASK_IOU = 0.5
_ARTICLES = frozenset({"a", "an", "the"})


class CaptionMetrics:
    """Recall of true phrases and IoU of masks, after GLaMM (arXiv 2311.03356, ``eval/gcg/evaluate.py``).

    A true phrase is recalled by a generated one of similar text whose mask overlaps; pairs are taken from the highest
    IoU down, each phrase once. Two differences: texts are compared by their words, where GLaMM compares embeddings of
    a BERT; and a pair of other text is passed over, where GLaMM's search ends.
    """

    def __init__(self) -> None:
        self._recalled = 0
        self._exact = 0
        self._true = 0
        self._generated = 0
        self._mious: list[float] = []
        self._answered: list[bool] = []

    def add(self, ask: Caption, result: Result) -> None:
        """Judge one caption."""
        self._answered.append(result.answered)
        phrases = [segment.label or "" for segment in result.segments]
        ious = _ious([mask() for mask in ask.masks], [segment.mask for segment in result.segments])
        alike = np.array([[text_similarity(true, phrase) for phrase in phrases] for true in ask.phrases])
        alike = alike.reshape(ious.shape)
        self._true += len(ask.phrases)
        self._generated += len(phrases)
        self._recalled += len(_pairs(np.where((alike >= TEXT_SIMILARITY) & (ious >= MASK_IOU), ious, 0)))
        self._exact += (Counter(map(_normal, ask.phrases)) & Counter(map(_normal, phrases))).total()
        self._mious.append(mean(_pairs(ious)) or 0.0)

    def result(self) -> dict[str, Any]:
        """``n`` (captions), ``recall``, ``precision``, ``exact``, ``miou``, ``answered``.

        ``recall`` is the share of true phrases that are recalled, ``precision`` the share of generated ones that
        recall one, ``exact`` the share of true phrases whose very text was generated, wherever its mask. ``miou`` is
        the mean over pictures of the mean IoU of masks that are paired one to one, whatever their text; masks
        without a pair do not lower it.
        """
        return {
            "n": len(self._answered),
            "recall": self._recalled / self._true if self._true else None,
            "precision": self._recalled / self._generated if self._generated else None,
            "exact": self._exact / self._true if self._true else None,
            "miou": mean(self._mious),
            "answered": mean(self._answered),
        }


def text_similarity(first: str, second: str) -> float:
    """F1 of two phrases' sets of words, without capitals, punctuation at their ends, and articles; 0 without a word."""
    one, other = _words(first), _words(second)
    return 2 * len(one & other) / (len(one) + len(other)) if one and other else 0.0


def _words(text: str) -> set[str]:
    return {word for part in text.lower().split() if (word := part.strip(".,;:!?\"'()"))} - _ARTICLES


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _ious(
    truth: Sequence[npt.NDArray[np.bool_]], predicted: Sequence[npt.NDArray[np.bool_]]
) -> npt.NDArray[np.float64]:
    ious = np.zeros((len(truth), len(predicted)))
    for row, true in enumerate(truth):
        for column, mask in enumerate(predicted):
            intersection, union = mask_overlap(mask, true)
            ious[row, column] = intersection / union if union else 0.0
    return ious


def _pairs(ious: npt.NDArray[np.float64]) -> list[float]:
    """IoUs of rows and columns that are paired one to one, the highest first; zeros are no pair."""
    left = ious.copy()
    paired = []
    while left.size and left.max() > 0:
        row, column = np.unravel_index(left.argmax(), left.shape)
        paired.append(float(left[row, column]))
        left[row], left[:, column] = 0, 0
    return paired
