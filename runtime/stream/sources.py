"""Where frames come from: a folder of images, a video, a camera. Any other iterable of images does as well.

A source is iterated once, by a thread of its own. ``stop`` ends a wait inside of it, from any thread.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.stream import video


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One image of a stream.

    ``timestamp`` are seconds of the source's own clock. ``arrived`` is when the frame came into being, in seconds of
    ``time.monotonic``; None where nothing happens at a time of its own, as in a folder that is read at will.
    """

    image: ImageSource
    timestamp: float | None = None
    arrived: float | None = None
    name: str | None = None


class FrameSource(Protocol):
    """What ``open_source`` returns. ``live`` frames come by themselves: who is slow should skip to the newest."""

    live: bool

    def __iter__(self) -> Iterator[SourceFrame]: ...

    def stop(self) -> None:
        """End the iteration soon."""


class Folder:
    """The images of a folder in the order of their names, numbers counted as numbers; ``rate`` per second, or at will.

    A file is read where it is used, so that a broken one is an error of that frame. Hidden files and what Pillow has no
    format for are left out.

    Raises:
        InputError: no folder, or no image in it.
    """

    def __init__(self, path: str | Path, rate: float | None = None) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; a folder of images was expected")
        Image.init()
        known = set(Image.registered_extensions())
        self.paths = sorted(
            (entry for entry in folder.iterdir() if entry.suffix.lower() in known and not entry.name.startswith(".")),
            key=_by_numbers,
        )
        if not self.paths:
            raise InputError(f"{folder} holds no image; a folder of images was expected")
        self.live = rate is not None
        self._pace = _Pace(rate)

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, path in enumerate(self.paths):
            if not self._pace.wait(number):
                return
            yield SourceFrame(path, self._pace.time(number), self._pace.due(number), path.name)

    def stop(self) -> None:
        """See :class:`FrameSource`."""
        self._pace.stop()


class Video:
    """The frames of a video file; played at ``rate`` frames per second, or at will. Needs PyAV or OpenCV.

    Timestamps are the frames' times in the video, in seconds.

    Raises:
        InputError: the file is missing or cannot be decoded.
        BackendError: neither package is installed.
    """

    def __init__(self, path: str | Path, rate: float | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path} is not a file; a video was expected")
        self.live = rate is not None
        self._decode = video.decoder(str(self.path))
        self._pace = _Pace(rate)

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, (seconds, image) in enumerate(self._decode()):
            if not self._pace.wait(number):
                return
            yield SourceFrame(image, seconds, self._pace.due(number), f"{self.path.stem}-{number:06d}")

    def stop(self) -> None:
        """See :class:`FrameSource`."""
        self._pace.stop()


class Camera:
    """A camera by its number, or a stream by its URL (``rtsp://...``). Needs OpenCV; PyAV does for a URL.

    Timestamps are seconds since 1970, taken when a frame was read: what the driver held it back is not known.

    Raises:
        BackendError: no package is installed that reads it.
    """

    live = True

    def __init__(self, address: int | str) -> None:
        self.address = address
        self._decode = video.decoder(address)
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, (_, image) in enumerate(self._decode()):
            if self._stopped.is_set():
                return
            yield SourceFrame(image, time.time(), time.monotonic(), f"frame-{number:06d}")

    def stop(self) -> None:
        """See :class:`FrameSource`."""
        self._stopped.set()


def open_source(address: str, rate: float | None = None) -> Folder | Video | Camera:
    """A folder, a video file, a camera's number or a stream's URL, by what ``address`` is.

    Raises:
        InputError: none of these, or ``rate`` for a camera or not above 0.
        BackendError: the package that reads it is not installed.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError(f"the rate is {rate}; expected frames per second, above 0")
    path = Path(address)
    if path.is_dir():
        return Folder(path, rate)
    if path.is_file():
        return Video(path, rate)
    if (address.isascii() and address.isdigit()) or "://" in address:
        if rate is not None:
            raise InputError(f"{address} is a camera, whose frames come at its own rate; leave the rate out")
        return Camera(int(address) if address.isdigit() else address)
    raise InputError(f"{address} does not exist; give a folder of images, a video, a camera's number or a URL")


class _Pace:
    """When the frames of a recording are due, counted from the first."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._start = 0.0
        self._stopped = threading.Event()

    def wait(self, number: int) -> bool:
        """Sleep until a frame is due; False when stopped."""
        if self._rate is None:
            return not self._stopped.is_set()
        if number == 0:
            self._start = time.monotonic()
        return not self._stopped.wait(max(0.0, self._start + number / self._rate - time.monotonic()))

    def time(self, number: int) -> float | None:
        return None if self._rate is None else number / self._rate

    def due(self, number: int) -> float | None:
        return None if self._rate is None else self._start + number / self._rate

    def stop(self) -> None:
        self._stopped.set()


def _by_numbers(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which frame-9 stands before frame-10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]
