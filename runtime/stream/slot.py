"""A place for one item between two threads.

Nothing is ever queued: either a new item replaces the one that was not taken, or the thread that brings it waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class Slot(Generic[T]):
    """Room for one item. With ``latest`` a newer item replaces the one that lies there, else ``put`` waits.

    One thread puts, one takes. After ``finish`` the item that lies there can still be taken; after ``close`` nothing.
    """

    def __init__(self, latest: bool) -> None:
        self._latest = latest
        self._changed = threading.Condition()
        self._item: T | None = None
        self._over = False  # no further item will come
        self._error: BaseException | None = None
        self._awaited = False
        # For ``wanted``, in seconds: when the taker left, how long it was away before, what making an item took.
        self._left = 0.0
        self._away = 0.0
        self._making = 0.0

    def wanted(self) -> bool:
        """Wait until it is worth to make an item: there is room or, with ``latest``, its taker is soon due.

        Making every frame of a camera ready would cost the graphs a core, for frames that are thrown away. The taker
        is expected after as long as it was away the last time. Returns False when the slot is closed.
        """
        with self._changed:
            if self._latest:
                due = self._left + self._away - 2 * self._making
                while not (self._over or self._awaited) and (early := due - time.monotonic()) > 0:
                    self._changed.wait(early)
            else:
                while self._item is not None and not self._over:
                    self._changed.wait()
            return not self._over

    def put(self, item: T, making: float = 0.0) -> bool:
        """Lay an item down, which took ``making`` seconds to make; False when the slot is closed."""
        with self._changed:
            self._making = making
            while not self._latest and self._item is not None and not self._over:
                self._changed.wait()
            if not self._over:
                self._item = item
                self._changed.notify_all()
            return not self._over

    def take(self) -> T | None:
        """Wait for an item and take it; None at the end.

        Raises:
            BaseException: what ``finish`` was told, once the last item is taken.
        """
        with self._changed:
            if self._left:
                self._away = time.monotonic() - self._left
            self._awaited = True
            self._changed.notify_all()
            while self._item is None and not self._over:
                self._changed.wait()
            self._awaited = False
            self._left = time.monotonic()
            if self._item is None and self._error is not None:
                raise self._error
            return self._pop()

    def take_newer(self) -> T | None:
        """The item that lies there, without waiting."""
        with self._changed:
            return self._pop()

    def finish(self, error: BaseException | None = None) -> None:
        """No further item will come, because of ``error`` if there is one."""
        with self._changed:
            self._over = True
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """Wake whoever waits; what lies there is thrown away."""
        with self._changed:
            self._over, self._item, self._error = True, None, None
            self._changed.notify_all()

    def _pop(self) -> T | None:
        item, self._item = self._item, None
        self._changed.notify_all()
        return item


def relay(source: Slot[A], target: Slot[B], work: Callable[[A], B]) -> None:
    """A thread's whole life: take from ``source``, work, put into ``target``, until one of them ends.

    An error of the work or of the source ends the target, whose taker meets it.
    """
    error: BaseException | None = None
    try:
        while target.wanted() and (item := source.take()) is not None:
            start = time.monotonic()
            made = work(item)
            if not target.put(made, time.monotonic() - start):
                break
    except BaseException as raised:
        error = raised
    source.close()
    target.finish(error)
