"""How far long work is: what is told, and to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Step:
    """A state of long work: ``done`` of ``total`` ``unit`` of ``what``, ``total`` None where it is not known.

    ``unit`` is a plural such as "pictures"; "bytes" and "seconds" are shown as sizes and times. ``detail`` names what
    of the work it is, such as a file, and may change from step to step. A ``note`` is no state of work but something
    that its reader should know; ``what`` is the whole of it.
    """

    what: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    detail: str = ""
    note: bool = False


Progress = Callable[[Step], None]
"""Is told each step of long work, from one thread at a time; it is quick, and keeps to itself what is too much."""


def silent(_step: Step) -> None:
    """The progress that nobody looks at."""


def within(progress: Progress, what: str) -> Progress:
    """The progress of a part of ``what``, which it names in front."""
    return lambda step: progress(replace(step, what=f"{what}: {step.what}"))


class Tally:
    """Adds up how far one piece of work is, and tells it; any thread may add.

    >>> tally = Tally(progress, "hash", 3 << 20, "bytes")
    >>> tally.add(1 << 20)
    """

    def __init__(self, progress: Progress, what: str, total: int | None, unit: str) -> None:
        self._progress, self._what, self._total, self._unit = progress, what, total, unit
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """So much more is done."""
        with self._lock:
            self._done += count
            self._progress(Step(self._what, self._done, self._total, self._unit))
