"""What became of the frames: totals, and rate and latency over the last seconds.

Frames are told by the threads that see them, and are read by the one that reports.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_MOST = 4096  # frames of a window that are remembered, whatever their rate


@dataclass(frozen=True)
class Report:
    """A moment's numbers. Rates are per second, ages milliseconds; None where no frame tells them.

    ``received`` counts messages, ``answered``, ``late``, ``dropped`` and ``damaged`` what became of them, all since the
    start; a damaged one that was passed over for a newer one counts as dropped, too. ``silence`` is seconds since the
    last message, None before the first.
    """

    received: int
    answered: int
    late: int
    dropped: int
    damaged: int
    input_rate: float
    rate: float
    p50: float | None
    p95: float | None
    silence: float | None


class Statistics:
    """Counts since the start, and what happened in the last ``window`` seconds of a clock that never jumps."""

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._first: float | None = None  # when the first message came, and the last
        self._last: float | None = None
        self._received = self._answered = self._late = self._dropped = self._damaged = 0
        self._arrivals: deque[float] = deque(maxlen=_MOST)
        self._answers: deque[tuple[float, float]] = deque(maxlen=_MOST)  # when, and the age in milliseconds

    def received(self, now: float) -> None:
        """A message came, at ``now`` seconds."""
        with self._lock:
            self._first = now if self._first is None else self._first
            self._last = now
            self._received += 1
            self._arrivals.append(now)

    def answered(self, now: float, age_ms: float, dropped: int) -> None:
        """A frame was answered, ``dropped`` ones were passed over since the one before."""
        with self._lock:
            self._answered += 1
            self._dropped += dropped
            self._answers.append((now, age_ms))

    def late(self, dropped: int) -> None:
        """A frame missed its deadline."""
        with self._lock:
            self._late += 1
            self._dropped += dropped

    def dropped(self, count: int = 1) -> None:
        """Frames were passed over before anything began to work on them."""
        with self._lock:
            self._dropped += count

    def damaged(self) -> None:
        """A frame could not be read."""
        with self._lock:
            self._damaged += 1

    def report(self, now: float) -> Report:
        """The numbers at ``now``."""
        with self._lock:
            since = now - self._window
            while self._arrivals and self._arrivals[0] < since:
                self._arrivals.popleft()
            while self._answers and self._answers[0][0] < since:
                self._answers.popleft()
            ages = sorted(age for _, age in self._answers)
            span = self._window if self._first is None else min(self._window, max(now - self._first, 1.0))
            return Report(
                self._received,
                self._answered,
                self._late,
                self._dropped,
                self._damaged,
                len(self._arrivals) / span,
                len(self._answers) / span,
                quantile(ages, 0.5),
                quantile(ages, 0.95),
                None if self._last is None else max(0.0, now - self._last),
            )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of the ordered ones do not exceed: the nearest rank, which is one of them; or None."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
