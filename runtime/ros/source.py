"""Messages as the frames of a stream: callbacks lay the newest one down, a stream takes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from xsam_edge.runtime.stream.slot import Slot
from xsam_edge.runtime.stream.sources import SourceFrame

_SECOND = 1_000_000_000


class MessageSource:
    """A live source of a stream. ``replaced`` is called for each message that nobody took before a newer one came."""

    live = True

    def __init__(self, replaced: Callable[[], None]) -> None:
        self._slot = Slot[SourceFrame](latest=True)
        self._replaced = replaced

    def put(self, message: Any) -> None:
        """Lay a message with a header down, without waiting; one thread at a time may call it."""
        frame = frame_of(message, time.monotonic())
        if self._slot.take_newer() is not None:
            self._replaced()
        self._slot.put(frame)

    def __iter__(self) -> Iterator[SourceFrame]:
        while (frame := self._slot.take()) is not None:
            yield frame

    def stop(self) -> None:
        """See ``FrameSource``."""
        self._slot.close()


def frame_of(message: Any, arrived: float) -> SourceFrame:
    """A message as a frame, whose image is the message itself: what is never looked at is never converted.

    A stamp of zero is none: its frame's age counts from its arrival.
    """
    stamp = message.header.stamp
    nanoseconds = stamp.sec * _SECOND + stamp.nanosec
    return SourceFrame(
        message, arrived=arrived, stamp_ns=nanoseconds if nanoseconds > 0 else None, origin=message.header
    )
