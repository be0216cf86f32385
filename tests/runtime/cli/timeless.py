"""A clock that tests set, and waits that are over at once."""

from __future__ import annotations

import threading


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Timeless(threading.Condition):
    """The first ``count`` waits with a timeout are over at once, that much later by the clock; others wait for real.

    ``waits`` has the timeout of each wait, and ``done`` is set when one waits for real.
    """

    def __init__(self, clock: Clock, count: int) -> None:
        super().__init__()
        self.clock, self.count = clock, count
        self.waits: list[float | None] = []
        self.done = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if timeout is None or not self.count:
            self.done.set()
            return super().wait()
        self.count -= 1
        self.clock.now += timeout
        return False
