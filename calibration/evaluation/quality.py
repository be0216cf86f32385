"""Panoptic quality: matched, missed and superfluous segments (Kirillov et al. 2019, arXiv 1801.00868)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xsam_edge.calibration.data.samples import BoolMask
from xsam_edge.calibration.evaluation.overlap import mask_overlap, mean

MATCH = 0.5  # IoU that a match must exceed; an unmatched segment with more than this part to ignore is ignored


@dataclass
class Quality:
    """What was counted of one category; ``iou`` is the sum over matches."""

    iou: float = 0.0
    matched: int = 0
    superfluous: int = 0
    missed: int = 0

    def __bool__(self) -> bool:
        return bool(self.matched or self.superfluous or self.missed)

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the matches, 0 without one."""
        return self.iou / self.matched if self.matched else 0.0

    @property
    def rq(self) -> float:
        """Recognition quality: F1 of the matches."""
        return self.matched / (self.matched + (self.superfluous + self.missed) / 2) if self else 0.0

    @property
    def pq(self) -> float:
        """The product of both."""
        return self.sq * self.rq


def averages(qualities: Iterable[Quality], suffix: str = "") -> dict[str, float | None]:
    """``pq``, ``sq``, ``rq`` over the categories that were seen or found; None without one."""
    seen = [quality for quality in qualities if quality]
    return {f"{name}{suffix}": mean(getattr(quality, name) for quality in seen) for name in ("pq", "sq", "rq")}


def count_masks(
    quality: Quality,
    predicted: Sequence[BoolMask],
    truth: Sequence[BoolMask],
    crowds: Sequence[BoolMask] = (),
) -> None:
    """Add the masks of one category in one picture, which may overlap.

    Where masks overlap, two may exceed an IoU of 0.5 with the same truth; pairs are then taken from the highest IoU
    down, each mask once. A superfluous mask that lies in a crowd by more than half is ignored.
    """
    pairs = []
    for index, mask in enumerate(predicted):
        for other, true in enumerate(truth):
            intersection, union = mask_overlap(mask, true)
            if union and intersection / union > MATCH:
                pairs.append((intersection / union, index, other))
    used: set[int] = set()
    matched: set[int] = set()
    for iou, index, other in sorted(pairs, key=lambda pair: -pair[0]):
        if index not in used and other not in matched:
            used.add(index)
            matched.add(other)
            quality.iou += iou
            quality.matched += 1
    quality.missed += len(truth) - len(matched)
    crowd = np.logical_or.reduce(crowds) if crowds else None
    for index, mask in enumerate(predicted):
        if index in used:
            continue
        if crowd is not None and np.count_nonzero(mask & crowd) > MATCH * np.count_nonzero(mask):
            continue
        quality.superfluous += 1
