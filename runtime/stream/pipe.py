"""The bytes of a FIFO or of standard input, for a library that reads files; a wait for them can be ended."""

from __future__ import annotations

import os
import select
import threading

_TICK = 0.05  # seconds between two looks at whether to stop


class Pipe:
    """Reads until the writer closes, or ``stopped`` is set. A FIFO (``path``) is opened without waiting for a writer.

    Raises:
        OSError: the FIFO cannot be opened.
    """

    def __init__(self, path: str | None, stopped: threading.Event) -> None:
        self._owned = path is not None
        self.fileno = 0 if path is None else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._stopped = stopped
        self._poll = select.poll()
        self._poll.register(self.fileno, select.POLLIN)

    def wait(self) -> bool:
        """Whether there is something to read, an end too; False when stopped."""
        while not self._stopped.is_set():
            if self._poll.poll(1e3 * _TICK):
                return True
        return False

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, as soon as there are any; none at the end."""
        return os.read(self.fileno, size) if self.wait() else b""

    def close(self) -> None:
        """Close a FIFO; standard input is the process's own."""
        if self._owned:
            os.close(self.fileno)
