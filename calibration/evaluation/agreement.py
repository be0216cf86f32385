"""How far two bundles agree on the same asks: masks and text.

One bundle after the other is run, so that a device need not hold both. What the first answered is kept in a small form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import eq
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.samples import TASKS, Ask, Phrase, Regions, Task
from xsam_edge.calibration.evaluation.overlap import mean
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.iou import mask_iou
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

CLOSE = 0.95
SURE = 0.5  # score from which a segment is expected of the other bundle too
_KEPT = 0.3  # score below which a segment is no match for a sure one


@dataclass(frozen=True)
class _Mask:
    label: int
    score: float
    counts: rle.Rle


@dataclass(frozen=True)
class _Answer:
    text: str
    token_ids: tuple[int, ...]
    masks: tuple[_Mask, ...]


@dataclass(frozen=True, eq=False)
class Compared:
    """One mask of the first bundle beside the second's, bool [H, W]; None where the other has no such mask."""

    iou: float
    first: npt.NDArray[np.bool_] | None
    second: npt.NDArray[np.bool_] | None


class Recorder:
    """Keeps the answers of the first bundle; ``watch`` goes to ``evaluate``."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, int], _Answer] = {}

    def watch(self, picture: str, number: int, ask: Ask, result: Result) -> None:
        """Keep one answer."""
        masks = tuple(
            _Mask(segment.label_id, segment.score, rle.encode(segment.mask)) for segment in _compared(ask, result)
        )
        self._answers[picture, number] = _Answer(result.text, result.token_ids, masks)

    def answer(self, picture: str, number: int) -> _Answer:
        """What was answered; KeyError where nothing was asked."""
        return self._answers[picture, number]


@dataclass
class _Tally:
    asks: int = 0
    texts: list[bool] = field(default_factory=list)
    equal_tokens: int = 0
    tokens: int = 0
    ious: list[float] = field(default_factory=list)


class Agreement:
    """Compares a second bundle's answers with those recorded of the first; ``watch`` goes to ``evaluate``.

    Of phrases and single regions the one mask is compared. Elsewhere masks of one label (of captions: any) are paired
    one to one, the highest IoU first; a mask without a pair has an IoU of 0. Of panoptic segments, instances and what
    resembles a region, only those that one of the two bundles scores 0.5 are compared, and what the other scores below
    0.3 is no match.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tallies: dict[Task, _Tally] = defaultdict(_Tally)

    def watch(self, picture: str, number: int, ask: Ask, result: Result) -> list[Compared]:
        """Compare one answer, and return what was compared."""
        first = self._recorder.answer(picture, number)
        tally = self._tallies[ask.task]
        tally.asks += 1
        if first.text or result.text:  # an appended answer has none
            tally.texts.append(first.text == result.text)
        tally.equal_tokens += sum(map(eq, first.token_ids, result.token_ids))
        tally.tokens += max(len(first.token_ids), len(result.token_ids))
        compared = _agreement(ask, first.masks, _compared(ask, result), result.image_size)
        tally.ious += [item.iou for item in compared]
        return compared

    def result(self) -> dict[Task, dict[str, Any]]:
        """``n`` asks, ``masks`` compared, ``mean_iou``, ``min_iou``, ``share_95``, ``equal_text``, ``equal_tokens``.

        All by task. ``share_95`` is the share of masks with an IoU of at least 0.95, ``equal_text`` that of answers
        with the very same text, ``equal_tokens`` that of generated tokens that are equal at their place in the longer
        answer. A value is None where nothing was compared.
        """
        return {task: _summary(self._tallies[task]) for task in TASKS if task in self._tallies}


def _summary(tally: _Tally) -> dict[str, Any]:
    return {
        "n": tally.asks,
        "masks": len(tally.ious),
        "mean_iou": mean(tally.ious),
        "min_iou": min(tally.ious, default=None),
        "share_95": mean(iou >= CLOSE for iou in tally.ious),
        "equal_text": mean(tally.texts),
        "equal_tokens": tally.equal_tokens / tally.tokens if tally.tokens else None,
    }


def _scored(ask: Ask) -> bool:
    return ask.task in ("panoptic", "instances") or (isinstance(ask, Regions) and ask.similar)


def _single(ask: Ask) -> bool:
    return isinstance(ask, Phrase) or (isinstance(ask, Regions) and not ask.similar)


def _compared(ask: Ask, result: Result) -> Sequence[Segment]:
    if _single(ask):
        return result.segments[:1]
    return [segment for segment in result.segments if segment.score >= _KEPT or not _scored(ask)]


def _agreement(ask: Ask, first: Sequence[_Mask], second: Sequence[Segment], size: tuple[int, int]) -> list[Compared]:
    """Every mask that is compared."""
    masks = [rle.decode(item.counts["size"], item.counts["counts"]) for item in first]
    if _single(ask):
        empty = np.zeros(size, bool)
        one, other = masks[0] if masks else empty, second[0].mask if second else empty
        return [Compared(mask_iou(one, other), one, other)]
    ious = np.full((len(masks), len(second)), -1.0)
    for row, mask in enumerate(masks):
        for column, segment in enumerate(second):
            if ask.task == "captions" or first[row].label == segment.label_id:
                ious[row, column] = mask_iou(mask, segment.mask)
    sure_first = [not _scored(ask) or item.score >= SURE for item in first]
    sure_second = [not _scored(ask) or segment.score >= SURE for segment in second]
    pairs = _pairs(ious)
    compared = [
        Compared(iou, masks[row], second[column].mask)
        for row, column, iou in pairs
        if sure_first[row] or sure_second[column]
    ]
    rows, columns = {row for row, _, _ in pairs}, {column for _, column, _ in pairs}
    compared += [Compared(0.0, masks[row], None) for row, sure in enumerate(sure_first) if sure and row not in rows]
    compared += [
        Compared(0.0, None, second[column].mask)
        for column, sure in enumerate(sure_second)
        if sure and column not in columns
    ]
    return compared


def _pairs(ious: npt.NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Row, column and IoU of masks that are paired one to one, the highest first; masks that do not touch are none."""
    left = ious.copy()
    pairs = []
    while left.size and left.max() > 0:
        row, column = (int(index) for index in np.unravel_index(left.argmax(), left.shape))
        pairs.append((row, column, float(left[row, column])))
        left[row], left[:, column] = -1, -1
    return pairs
