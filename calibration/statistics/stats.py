"""What is known of an activation after any number of samples: extremes and energy per channel, a histogram.

The size depends on the tensor's channels only. Statistics of two parts of the data add up to those of all, and no
method of choosing a range enters them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.statistics.bins import BinCounts, count, no_counts, rescaled

Array = npt.NDArray[np.float32]


class NotFiniteError(Exception):
    """An activation holds NaN or infinity, or magnitudes whose squares are infinite in float32."""


@dataclass
class TensorStats:
    """Statistics of one tensor.

    ``size`` counts the elements of each channel that extremes and squares are of. The histogram counts fewer: a run of
    the graph gives it some hundred rows.
    """

    lowest: Array  # [channels]
    highest: Array  # [channels]
    squares: npt.NDArray[np.float64]  # [channels], sum of squares
    counts: BinCounts  # [channels, BINS] or [1, BINS]
    size: int = 0

    @classmethod
    def empty(cls, channels: int, per_channel: bool) -> TensorStats:
        """Before the first sample; ``per_channel`` keeps a histogram of each channel (1 kB each)."""
        return cls(
            np.full(channels, np.inf, np.float32),
            np.full(channels, -np.inf, np.float32),
            np.zeros(channels),
            no_counts(channels if per_channel else 1),
        )

    @property
    def reached(self) -> bool:
        """Whether any element was seen; without one there are no ranges."""
        return self.size > 0

    @property
    def amax(self) -> Array:
        """Largest magnitude of each channel, [channels]; 0 before the first sample."""
        if not self.reached:
            return np.zeros_like(self.highest)
        return np.maximum(-self.lowest, self.highest)

    @property
    def energy(self) -> npt.NDArray[np.float64]:
        """Mean square of each channel, [channels]."""
        return self.squares / max(self.size, 1)

    @property
    def histogram(self) -> npt.NDArray[np.float64]:
        """Counts of the magnitudes of all channels together, [BINS]."""
        summed: npt.NDArray[np.float64] = self.counts.sum(axis=0, dtype=np.float64)
        return summed

    def add(self, lowest: Array, highest: Array, squares: Array, rows: Array, size: int) -> None:
        """Add one run of the graph: reductions of each channel, and some of the rows [n, channels].

        A run without elements changes nothing; its reductions mean nothing either.

        Raises:
            NotFiniteError: an element was NaN or infinite. Sums of squares show both, extremes need not.
        """
        if not size:
            return
        if not np.isfinite(squares).all():
            raise NotFiniteError(f"{np.count_nonzero(~np.isfinite(squares))} of {squares.size} channels")
        np.minimum(self.lowest, lowest, out=self.lowest)
        np.maximum(self.highest, highest, out=self.highest)
        self.squares += squares
        count(self.counts, rows)
        self.size += size

    def smoothed(self, divisors: npt.NDArray[np.floating[Any]]) -> TensorStats:
        """Statistics of the activation with each channel divided by its divisor, [channels], all > 0.

        Extremes and squares are exact. Of histograms of each channel every row moves, and one histogram of all
        results. One histogram of all channels cannot be taken apart: it moves as a whole, with the largest magnitude,
        so that a range keeps its relation to that.
        """
        lowest, highest = self.lowest / divisors, self.highest / divisors
        moved = TensorStats(
            lowest.astype(np.float32),
            highest.astype(np.float32),
            self.squares / np.square(divisors, dtype=np.float64),
            self.counts.astype(np.float64),
            self.size,
        )
        if len(self.counts) == len(divisors):
            by = divisors
        else:
            before, after = float(self.amax.max()), float(moved.amax.max())
            by = np.array([before / after if before > 0 else 1.0])
        moved.counts = rescaled(self.counts, by)[None]
        return moved
