"""What is wrong now: a fault is logged once when it begins, and stands in the diagnostics as long as it lasts.

A camera with an unknown encoding sends thirty bad messages a second; a log with thirty lines a second hides all else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

QUIET = 30.0  # seconds between two lines of one kind
_LONGEST = 1000  # characters of a message


@dataclass(frozen=True)
class Fault:
    """``kind`` names what is concerned, such as "prompt"; ``error`` is false of what is a warning alone."""

    kind: str
    message: str
    error: bool = True


class Faults:
    """One fault of each kind at most, the newest; ``log`` is given those that are to be logged.

    Any thread may tell and ask; times are seconds of a clock that never jumps.
    """

    def __init__(self, log: Callable[[Fault], None]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Fault, float]] = {}  # with when it is forgotten
        self._logged: dict[str, float] = {}

    def tell(
        self,
        now: float,
        kind: str,
        message: object,
        *,
        error: bool = True,
        lasts: float = float("inf"),
        quiet: float = QUIET,
    ) -> None:
        """Something is wrong, for ``lasts`` seconds from now on or until it is over.

        It is logged unless a fault of this kind was within ``quiet`` seconds.
        """
        text = " ".join(str(message).split())
        fault = Fault(kind, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...", error)
        with self._lock:
            self._known[kind] = fault, now + lasts
            if logged := now - self._logged.get(kind, float("-inf")) >= quiet:
                self._logged[kind] = now
        if logged:
            self._log(fault)

    def over(self, kind: str) -> None:
        """What was wrong is right; the next fault of this kind is a new one."""
        with self._lock:
            if self._known.pop(kind, None) is not None:
                self._logged.pop(kind, None)

    def now(self, now: float) -> tuple[Fault, ...]:
        """Everything that is wrong, errors first."""
        with self._lock:
            self._known = {kind: known for kind, known in self._known.items() if known[1] >= now}
            return tuple(sorted((fault for fault, _ in self._known.values()), key=lambda fault: not fault.error))
