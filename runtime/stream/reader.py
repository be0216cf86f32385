"""An iterator on a thread of its own, so that who waits for its next item can give up.

A library that blocks in native code can neither be interrupted nor killed. Its thread is a daemon: it is told to end,
and left alone where it does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Reader(Generic[T]):
    """Reads one item ahead. ``items`` is called on the reader's thread, with an event that tells it to end."""

    def __init__(self, items: Callable[[threading.Event], Iterator[T]]) -> None:
        self._items = items
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._item: T | None = None
        self._error: BaseException | None = None
        self._over = False  # the iterator ended, or nobody wants more of it
        self._thread = threading.Thread(target=self._read, daemon=True, name="xsam-reader")
        self._thread.start()

    def take(self, seconds: float) -> T | None:
        """The next item; None at the end and after ``stop``.

        Raises:
            TimeoutError: none came within so many seconds.
            BaseException: what the iterator raised.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while self._item is None and not self._over:
                if (left := end - time.monotonic()) <= 0:
                    raise TimeoutError
                self._changed.wait(left)
            item, self._item = self._item, None
            self._changed.notify_all()
            if item is None and self._error is not None:
                raise self._error
            return item

    def stop(self) -> None:
        """Wake who waits, and tell the thread to end; from any thread."""
        self._stopped.set()
        with self._changed:
            self._over, self._item, self._error = True, None, None
            self._changed.notify_all()

    def ended(self, seconds: float) -> bool:
        """Whether the thread ends within so many seconds, and with it what the iterator held open."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            items = self._items(self._stopped)
            try:
                for item in items:
                    if not self._put(item):
                        break
            finally:
                if (close := getattr(items, "close", None)) is not None:
                    close()  # here, where a generator has run, and not whenever it is collected
        except BaseException as raised:
            error = raised
        with self._changed:
            if not self._stopped.is_set():
                self._over, self._error = True, error
            self._changed.notify_all()

    def _put(self, item: T) -> bool:
        with self._changed:
            while self._item is not None and not self._over:
                self._changed.wait()
            if not self._over:
                self._item = item
                self._changed.notify_all()
            return not self._over
