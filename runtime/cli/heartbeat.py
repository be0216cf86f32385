"""A thread that does something now and then, for as long as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Heartbeat:
    """Calls ``beat`` from a daemon thread of its own, each time after as many seconds as the last call returned.

    ``beat`` returns None where it has nothing to do before :meth:`wake`. It is called with ``condition`` held, by which
    it may share a lock with others; it must not wait for whoever calls :meth:`stop`.
    """

    def __init__(self, beat: Callable[[], float | None], condition: threading.Condition) -> None:
        self._beat, self._condition = beat, condition
        self._thread: threading.Thread | None = None
        self._stopped = False

    def wake(self) -> None:
        """Call ``beat`` now; the first time this starts the thread."""
        with self._condition:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()
            self._condition.notify()

    def stop(self) -> None:
        """End the thread, if there is one; ``beat`` is not called any more once this returns."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._condition:
            while not self._stopped:
                self._condition.wait(self._beat())
