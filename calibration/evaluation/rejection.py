"""Telling what is absent from what is there by the score of the best mask.

A thing is found where its score is at least the threshold, both in float32, as the runtime compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

ROC_POINTS = 100  # of a curve, at most
_Z = 1.959964  # standard deviations to both sides that hold 95% of a normal distribution

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Share:
    """``count`` of ``of`` asks."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        """0..1; None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95% interval of the rate that the asks are a sample of; None of nothing."""
        if not self.of:
            return None
        rate, weight = self.count / self.of, _Z * _Z / self.of
        middle = rate + weight / 2
        spread = _Z * sqrt(rate * (1 - rate) / self.of + weight / (4 * self.of))
        # The ends are exact, whatever rounding makes of them.
        low = (middle - spread) / (1 + weight) if self.count else 0.0
        high = (middle + spread) / (1 + weight) if self.count < self.of else 1.0
        return low, high

    def to_json(self) -> dict[str, Any]:
        """``n`` (the count), ``of``, ``rate``, ``low`` and ``high`` (the interval)."""
        low, high = self.interval or (None, None)
        return {"n": self.count, "of": self.of, "rate": self.rate, "low": low, "high": high}


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold does: ``false_alarms`` are absent things that are found, ``hits`` present ones."""

    threshold: float
    false_alarms: Share
    hits: Share

    def to_json(self) -> dict[str, Any]:
        """``threshold``, and both shares."""
        shares = {"false_alarms": self.false_alarms.to_json(), "hits": self.hits.to_json()}
        return {"threshold": self.threshold, **shares}


@dataclass(frozen=True, eq=False)
class Scores:
    """Best scores of asks, 0..1, for what is in the picture and for what is absent.

    An answer without exactly one ``<SEG>`` has no score and counts as 0.
    """

    present: Sequence[float]
    absent: Sequence[float]

    @cached_property
    def _sorted(self) -> tuple[Float, Float]:
        return np.sort(np.asarray(self.present, np.float32)), np.sort(np.asarray(self.absent, np.float32))

    def at(self, threshold: float) -> OperatingPoint:
        """False alarms and hits at a threshold."""
        present, absent = self._sorted
        alarms, hits = (Share(int(_found(scores, np.float32(threshold))), len(scores)) for scores in (absent, present))
        return OperatingPoint(threshold, alarms, hits)

    def least_threshold(self, rate: float) -> float | None:
        """The least threshold, exact in float32, at which a share of at most ``rate`` (below 1) of the absent is found.

        None where there is none up to 1, as more than that score 1, and where nothing is absent.
        """
        absent = self._sorted[1]
        if not len(absent):
            return None
        highest_refused = absent[-1 - allowed(rate, len(absent))]
        # Smaller numbers than ``tiny`` count as 0 while a model works on a CPU.
        threshold = float(max(np.nextafter(highest_refused, np.float32(np.inf)), np.finfo(np.float32).tiny))
        return threshold if threshold <= 1 else None

    def roc_area(self) -> float | None:
        """The chance that a present thing scores higher than an absent one, ties at half (Mann-Whitney).

        None where there are not both.
        """
        present, absent = self._sorted
        if not len(present) or not len(absent):
            return None
        below, up_to = np.searchsorted(absent, present, "left"), np.searchsorted(absent, present, "right")
        return float((below + up_to).sum() / 2 / (len(present) * len(absent)))

    def roc(self) -> list[dict[str, float]]:
        """The curve from the highest score as ``threshold`` to the lowest: rates of ``false_alarms`` and ``hits``.

        At most ``ROC_POINTS`` points, evenly along it; none where there are not both present and absent things.
        """
        present, absent = self._sorted
        if not len(present) or not len(absent):
            return []
        thresholds = np.unique(np.concatenate([present, absent]))[::-1]
        alarms, hits = _found(absent, thresholds) / len(absent), _found(present, thresholds) / len(present)
        along = alarms + hits  # rises at every threshold
        kept = np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], ROC_POINTS)))
        values = zip(thresholds[kept].tolist(), alarms[kept].tolist(), hits[kept].tolist(), strict=True)
        return [{"threshold": least, "false_alarms": alarm, "hits": hit} for least, alarm, hit in values]


def allowed(rate: float, asks: int) -> int:
    """The greatest number that is a share of at most ``rate`` of the asks, as the rate is written in decimals."""
    return int(Fraction(str(rate)) * asks)


def needed(rate: float) -> int:
    """The least number of asks one of which is a share of at most ``rate``."""
    return ceil(1 / Fraction(str(rate)))


def _found(ascending: Float, threshold: np.float32 | Float) -> npt.NDArray[np.int64]:
    """How many scores are at least a threshold, or each of several."""
    return np.asarray(len(ascending) - np.searchsorted(ascending, threshold, "left"))
