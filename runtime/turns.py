"""Taking turns: threads that share a model are served in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turn:
    """A lock that goes to whoever has waited longest. The thread that holds it may take it again.

    ``threading.Lock`` goes to any of those that wait, so that one of many threads may wait without end.
    """

    def __init__(self) -> None:
        self._state = threading.Lock()  # held for a few instructions
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, threading.Lock]] = deque()

    def __enter__(self) -> None:
        thread, ticket = threading.get_ident(), threading.Lock()
        before = self._depth if self._owner == thread else 0
        ticket.acquire()
        try:
            with self._state:
                if self._owner in (None, thread):
                    self._owner, self._depth = thread, self._depth + 1
                    return
                self._waiting.append((thread, ticket))
            ticket.acquire()
        except BaseException:  # an interrupt, which may have come before the turn or with it
            self._withdraw(thread, ticket, before)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._state:
            self._leave()

    @property
    def waiting(self) -> int:
        """How many threads wait for it now."""
        return len(self._waiting)

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._owner = None
        if self._waiting:
            self._owner, ticket = self._waiting.popleft()
            self._depth = 1
            ticket.release()

    def _withdraw(self, thread: int, ticket: threading.Lock, depth: int) -> None:
        """Give back what a thread has of it beyond ``depth``, and its place among those that wait."""
        with self._state:
            if (thread, ticket) in self._waiting:
                self._waiting.remove((thread, ticket))
            elif self._owner == thread and self._depth > depth:
                self._leave()
