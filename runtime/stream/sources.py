"""Where frames come from: images, a video, a bag, what is live. Any other iterable of images does as well.

A source is iterated once, by a thread of its own. ``stop`` ends a wait inside of it, from any thread.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from PIL import Image

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.stream import video
from xsam_edge.runtime.stream.address import Kind, locate
from xsam_edge.runtime.stream.bag import Bag
from xsam_edge.runtime.stream.capture import LostError, RecordingEndError, capture_of
from xsam_edge.runtime.stream.frame import FrameSource as FrameSource  # with SourceFrame what callers know from here
from xsam_edge.runtime.stream.frame import Pace
from xsam_edge.runtime.stream.frame import SourceFrame as SourceFrame
from xsam_edge.runtime.stream.reader import Reader
from xsam_edge.runtime.stream.reconnect import Reconnect

_log = logging.getLogger(__name__)
_GRACE = 1.0  # seconds in which a library usually returns that is told to end


class Folder:
    """The images of a folder in the order of their names, numbers counted as numbers; ``rate`` per second, or at will.

    A file is read where it is used, so that a broken one is an error of that frame. Hidden files and what Pillow has no
    format for are left out.

    Raises:
        InputError: no folder, or no image in it.
    """

    def __init__(self, path: str | Path, rate: float | None = None) -> None:
        folder = arguments.path("the folder", path, "a folder of images")
        if not os.path.isdir(folder):  # Path.is_dir raises an error of a name that is too long
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
        self._pace = Pace(rate)

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
        self.path = arguments.path("the file", path, "a video")
        if not os.path.isfile(self.path):
            raise InputError(f"{self.path} is not a file; a video was expected")
        self.live = rate is not None
        self._decode = video.decoder(str(self.path))
        self._pace = Pace(rate)

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, (seconds, image) in enumerate(self._decode()):
            if not self._pace.wait(number):
                return
            yield SourceFrame(image, seconds, self._pace.due(number), f"{self.path.stem}-{number:06d}")

    def stop(self) -> None:
        """See :class:`FrameSource`."""
        self._pace.stop()


class Camera:
    """What is live. Needs OpenCV for a camera's number and for a pipeline; PyAV does for the rest.

    ``address`` is a camera's number or, as text, its device, a FIFO, standard input ("-"), a URL or a GStreamer
    pipeline.

    Timestamps are seconds since 1970, taken when a frame was read: what the driver held it back is not known.
    ``reconnects`` counts how often frames came again after the source had been opened anew; frames are numbered on.
    Its loss and its return are logged, as warnings. Iterating raises InputError where no video comes within the limit
    of time, or none any more.

    Raises:
        InputError: ``address`` does not exist, is none of these or may not be read, or standard input is to be
            opened again.
        BackendError: no package is installed that reads it.
    """

    live = True

    def __init__(self, address: int | str, reconnect: Reconnect | None = None) -> None:
        self._policy = _policy(reconnect) or Reconnect()
        self._address = locate(address)
        if self._address.kind in (Kind.FOLDER, Kind.FILE, Kind.BAG):
            raise InputError(f"{self._address.name} is a {self._address.kind.name.lower()}; a camera was expected")
        self._attempts = self._policy.attempts_of(self._address.written)
        if self._address.kind is Kind.STDIN and self._attempts:
            raise InputError("standard input cannot be opened again; leave the attempts to reconnect out")
        self.name = self._address.name
        self.reconnects = 0
        self._capture = capture_of(self._address, self._policy.timeout)
        self._reader: Reader[SourceFrame] | None = None
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[SourceFrame]:
        number = attempt = 0
        while not self._stopped.is_set():
            try:
                with closing(self._connection()) as frames:
                    for frame in frames:
                        if attempt:
                            attempt, self.reconnects = 0, self.reconnects + 1
                            _log.warning("%s gives frames again", self.name)
                        yield replace(frame, name=f"frame-{number:06d}")
                        number += 1
                fault, broken = "gives no more frames", self._address.never_ends
            except RecordingEndError:
                return
            except LostError as error:
                fault, broken = str(error), True
            if self._stopped.is_set() or (number and not self._attempts and not broken):
                return
            if not number or attempt == self._attempts:
                tried = f", even in {attempt} attempt{'s'[: attempt != 1]} to open it again" if attempt else ""
                raise InputError(f"{self.name} {fault}{tried}; {self._address.hint}")
            wait = self._policy.wait(attempt)
            attempt += 1
            facts = (self.name, fault, wait, attempt, self._attempts)
            _log.warning("%s %s; opening it again in %.3g s (attempt %d of %d)", *facts)
            self._stopped.wait(wait)

    def _connection(self) -> Generator[SourceFrame, None, None]:
        """The frames from one opening of the source to its end, without names."""
        if self._reader is not None and not self._reader.ended(0):  # two would fight for the device, or the bytes
            raise LostError("cannot be opened again, since the library still waits for it")
        reader = self._reader = Reader(self._read)
        try:
            # A stop that came before the reader was there has told none.
            while not self._stopped.is_set() and (frame := reader.take(self._policy.timeout)) is not None:
                yield frame
        except TimeoutError:
            raise LostError(f"gave no frame within its timeout of {self._policy.timeout:g} s") from None
        finally:
            reader.stop()
            reader.ended(_GRACE)

    def _read(self, stopped: threading.Event) -> Iterator[SourceFrame]:
        with closing(self._capture(stopped)) as images:
            for image in images:
                yield SourceFrame(image, time.time(), time.monotonic())

    def stop(self) -> None:
        """See :class:`FrameSource`."""
        self._stopped.set()
        if (reader := self._reader) is not None:
            reader.stop()


def open_source(
    address: str, rate: float | None = None, reconnect: Reconnect | None = None, topic: str | None = None
) -> Folder | Video | Bag | Camera:
    """A folder, a video file, a bag of ROS 2, or what is live, by what ``address`` is; see these.

    Raises:
        InputError: none of these, ``rate`` not above 0 or for what is live, ``reconnect`` for what is not, or ``topic``
            for what is no bag.
        BackendError: the package that reads it is not installed.
    """
    _policy(reconnect)
    found = locate(address)
    if topic is not None and found.kind is not Kind.BAG:
        raise InputError(f"{found.name} is no bag, and has no topics; leave the topic out")
    if found.kind not in (Kind.FOLDER, Kind.FILE, Kind.BAG):
        if rate is not None:
            raise InputError(f"{found.name} is live, and its frames come at its own rate; leave the rate out")
        return Camera(address, reconnect)
    if reconnect is not None:
        raise InputError(
            f"{found.name} is a {found.kind.name.lower()}, which is read once; leave attempts and timeout out"
        )
    if found.kind is Kind.BAG:
        return Bag(address, topic, rate)
    return Folder(address, rate) if found.kind is Kind.FOLDER else Video(address, rate)


def _policy(reconnect: Reconnect | None) -> Reconnect | None:
    return None if reconnect is None else arguments.instance("reconnect", reconnect, Reconnect, "a Reconnect")


def _by_numbers(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which frame-9 stands before frame-10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]
