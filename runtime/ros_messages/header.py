"""When and where a message was made: ``std_msgs/Header``, with its stamp in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xsam_edge.runtime import arguments

_SECOND = 10**9


@dataclass(frozen=True)
class Header:
    """``sec`` and ``nanosec`` as the message has them, and the name of its frame of coordinates."""

    sec: int = 0
    nanosec: int = 0
    frame_id: str = ""

    @classmethod
    def of(cls, header: Any) -> Header:
        """The same of a message's header, of any library."""
        stamp = header.stamp
        return cls(int(stamp.sec), int(stamp.nanosec), str(header.frame_id))

    @classmethod
    def at(cls, stamp_ns: int, frame_id: str = "") -> Header:
        """A header of so many nanoseconds. Raises InputError for what is no whole number from 0 on."""
        sec, nanosec = divmod(arguments.count("stamp_ns", stamp_ns), _SECOND)
        return cls(sec, nanosec, frame_id)

    @property
    def stamp_ns(self) -> int:
        """The stamp in nanoseconds."""
        return self.sec * _SECOND + self.nanosec
