"""What every source gives: frames with their times, and when those of a recording are due."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ImageError
from xsam_edge.runtime.image.load import ImageSource


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One image of a stream.

    ``timestamp`` are seconds of the source's own clock; ``stamp_ns`` is the same as the source gave it, in whole
    nanoseconds, which seconds since 1970 as a float do not hold. Either will do. ``arrived`` is when the frame came
    into being, in seconds of ``time.monotonic``; None where nothing happens at a time of its own, as in a folder that
    is read at will. ``origin`` is what a sink may want to know of where the frame came from, such as a message's
    header; it is passed on as it is.

    Raises InputError for a time or a name of another type.
    """

    image: ImageSource | ImageError  # or what is wrong with it
    timestamp: float | None = None
    arrived: float | None = None
    name: str | None = None
    stamp_ns: int | None = None
    origin: object = None

    def __post_init__(self) -> None:
        if self.stamp_ns is not None:
            object.__setattr__(self, "stamp_ns", arguments.count("stamp_ns", self.stamp_ns))
            if self.timestamp is None:
                object.__setattr__(self, "timestamp", 1e-9 * self.stamp_ns)
        for name in ("timestamp", "arrived"):
            if (value := getattr(self, name)) is not None:  # a scalar of NumPy is none of JSON's
                object.__setattr__(self, name, arguments.number(name, value, what="seconds"))
        if self.name is not None:
            arguments.text("name", self.name)


class FrameSource(Protocol):
    """What ``open_source`` returns. ``live`` frames come by themselves: who is slow should skip to the newest."""

    live: bool

    def __iter__(self) -> Iterator[SourceFrame]: ...

    def stop(self) -> None:
        """End the iteration soon."""


class Pace:
    """When the frames of a recording are due, counted from the first."""

    def __init__(self, rate: float | None) -> None:
        self._rate = None if rate is None else arguments.number("rate", rate, above=0, what="frames per second")
        self._start = 0.0
        self._stopped = threading.Event()

    def wait(self, number: int) -> bool:
        """Sleep until a frame is due; False when stopped."""
        if self._rate is None:
            return not self._stopped.is_set()
        if number == 0:
            self._start = time.monotonic()
        due = self._start + number / self._rate - time.monotonic()
        return not self._stopped.wait(min(max(0.0, due), threading.TIMEOUT_MAX))

    def time(self, number: int) -> float | None:
        """A frame's time from the first, in seconds; None of frames that are read at will."""
        return None if self._rate is None else number / self._rate

    def due(self, number: int) -> float | None:
        """When a frame is due, in seconds of ``time.monotonic``."""
        return None if self._rate is None else self._start + number / self._rate

    def stop(self) -> None:
        """End a wait, and all that follow."""
        self._stopped.set()
