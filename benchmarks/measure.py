"""Timing: distributions, and rounds in which every side takes its turn.

Sides that are compared run in one process and alternate, so that a clock that changes or a neighbour that wakes up
meets all of them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xsam_edge.benchmarks.watch import Call
from xsam_edge.runtime.progress import Progress, Step, silent

# Thread pools spin for some milliseconds after their work is done, which would be the next side's time.
SETTLE_SECONDS = 0.05

Pixels = npt.NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class Distribution:
    """Percentiles of ``n`` times in milliseconds, interpolated linearly between neighbours."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    n: int

    @classmethod
    def of(cls, times: Sequence[float]) -> Distribution:
        """The distribution of at least one time; ValueError for none."""
        if not times:
            raise ValueError("no time was measured")
        values = np.asarray(times, float)
        p50, p90, p95, p99 = (float(value) for value in np.percentile(values, (50, 90, 95, 99)))
        return cls(p50, p90, p95, p99, float(values.mean()), float(values.min()), float(values.max()), len(values))

    def to_json(self) -> dict[str, Any]:
        """The fields, rounded to a microsecond."""
        return {name: round(value, 3) if name != "n" else value for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Sample:
    """One answer: times in milliseconds, what the graphs did for it, and what came out.

    ``total_ms`` goes from pixels in memory to masks at the image's size, ``preprocess_ms`` and ``postprocess_ms`` are
    parts of it. ``mask`` is bool [H, W], None where nothing was segmented.
    """

    total_ms: float
    preprocess_ms: float
    postprocess_ms: float
    calls: tuple[Call, ...]
    tokens: tuple[int, ...]
    mask: npt.NDArray[np.bool_] | None

    @property
    def graphs_ms(self) -> float:
        """Time inside of graphs."""
        return sum(call.ms for call in self.calls)


class Side(Protocol):
    """What is measured: something that answers a referring prompt about a picture."""

    name: str

    @property
    def setup(self) -> dict[str, Any]:
        """How this side runs, for the output."""

    def first(self, picture: Pixels, phrase: str) -> Sample:
        """Answer about a picture that was not seen before."""

    def next(self, phrase: str) -> Sample:
        """Answer about the picture of the last ``first``."""


@dataclass(frozen=True)
class Round:
    """One side's answers of one round."""

    first: Sample
    next: Sample


def alternate(
    sides: Sequence[Side],
    picture: Callable[[int], Pixels],
    phrases: Sequence[str],
    *,
    repeat: int,
    warmup: int,
    progress: Progress = silent,
) -> tuple[list[list[Round]], list[float]]:
    """Run ``warmup`` rounds that are not counted and ``repeat`` that are.

    Each round has a picture of its own and two of the phrases; the order of the sides turns from round to round.

    Returns:
        rounds by side, and the seconds that each side spent warming up.
    """
    rounds: list[list[Round]] = [[] for _ in sides]
    warming = [0.0] * len(sides)
    gc.collect()
    for index in range(warmup + repeat):
        warming_up = index < warmup
        progress(
            Step("warm up", index, warmup, "rounds")
            if warming_up
            else Step("measure", index - warmup, repeat, "rounds")
        )
        pixels = picture(index)
        phrase, further = (phrases[(index + step) % len(phrases)] for step in (0, 1))
        for turn in range(len(sides)):
            number = (index + turn) % len(sides)
            time.sleep(SETTLE_SECONDS)
            start = time.perf_counter()
            done = Round(sides[number].first(pixels, phrase), sides[number].next(further))
            if warming_up:
                warming[number] += time.perf_counter() - start
            else:
                rounds[number].append(done)
    return rounds, warming
