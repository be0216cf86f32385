"""Cameras, FIFOs, URLs and pipelines as images, through OpenCV or PyAV.

Both libraries block in native code. They are given time limits of their own where they have any, somewhat above those
of whoever waits, so that what was given up ends by itself. PyAV's are those of FFmpeg's protocols: its own ``timeout``
takes Python's lock every tenth of a second, in which a thread that was given up may crash a process that ends.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from errno import EIO
from threading import Event
from typing import Any

from PIL import Image

from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.stream.address import Address, Kind
from xsam_edge.runtime.stream.pipe import Pipe
from xsam_edge.runtime.stream.video import from_opencv, from_pyav, installed, load_opencv, load_pyav, missing

Images = Generator[Image.Image, None, None]
Capture = Callable[[Event], Images]  # ends when its source does, or soon after the event is set

_OPENCV = "`pip install opencv-python-headless`"
_GRACE = 1.0  # seconds that a library has beyond whoever waits for it
_TIMEOUT_OPTIONS = {"rtsp": "timeout", "rtsps": "timeout", "udp": "timeout", "srt": "timeout"}  # else "rw_timeout"


class LostError(Exception):
    """A source that cannot be opened, or broke. Its text goes behind the source's name; it holds no address."""


class RecordingEndError(Exception):
    """The last frame of something that has a length, which would begin anew if it were opened again."""


def capture_of(address: Address, timeout: float) -> Capture:
    """What opens a live source and reads it; ``timeout`` in seconds.

    A camera takes OpenCV first, which skips what a driver holds back; what FFmpeg reads takes PyAV first.

    Raises:
        BackendError: no package is installed that reads it.
    """
    kind = address.kind
    if kind is Kind.PIPELINE:
        _check_gstreamer()
    packages = {Kind.NUMBER: ("cv2",), Kind.PIPELINE: ("cv2",), Kind.DEVICE: ("cv2", "av")}.get(kind, ("av", "cv2"))
    for package in packages:
        if installed(package):
            read = _with_pyav if package == "av" else _with_opencv
            return lambda stopped: read(address, timeout + _GRACE, stopped)
    raise missing("a camera" if kind is Kind.NUMBER else address.name, *([_OPENCV] if packages == ("cv2",) else []))


def _check_gstreamer() -> None:
    need = "a GStreamer pipeline needs an OpenCV that was built with GStreamer"
    remedy = "use the system's (`sudo apt install python3-opencv`) or build one; those of PyPI have none"
    if not installed("cv2"):
        raise BackendError(f"{need}, and none is installed; {remedy}")
    cv2 = load_opencv()
    if re.search(r"GStreamer:\s*YES", cv2.getBuildInformation()) is None:
        raise BackendError(f"{need}, and OpenCV {cv2.__version__} was not; {remedy}")


def _with_pyav(address: Address, timeout: float, stopped: Event) -> Images:
    av = load_pyav()
    source: Any = address.text
    options = {"fpsprobesize": "0"}  # the frame rate is not asked for; finding it holds back two seconds of frames
    if address.kind in (Kind.FIFO, Kind.STDIN):
        source = _pipe(address, stopped)
    elif address.kind is Kind.URL:
        scheme = address.text.partition(":")[0].lower()
        options[_TIMEOUT_OPTIONS.get(scheme, "rw_timeout")] = str(int(1e6 * timeout))
        options["rtsp_flags"] = "prefer_tcp"  # over UDP what is lost smears pictures
    file_format = "v4l2" if address.kind is Kind.DEVICE else None
    fault, read = None, False
    try:
        with av.open(source, format=file_format, options=options) as container:
            if not container.streams.video:
                fault = "holds no video"
            else:
                for packet in container.demux(container.streams.video[0]):
                    for frame in _decoded(packet, av.error.InvalidDataError):
                        read = True
                        yield from_pyav(frame)
                    if stopped.is_set():
                        return
                if address.kind is Kind.URL and container.duration is not None:
                    raise RecordingEndError
    except av.FFmpegError as error:
        if not (read and error.errno == EIO):  # which is how a server that hangs up is told
            fault = f"cannot be read ({error.strerror})"  # the error itself may hold a password
    finally:
        if isinstance(source, Pipe):
            source.close()
    if fault:
        raise LostError(fault)


def _decoded(packet: Any, broken: type[Exception]) -> list[Any]:
    """The frames of a packet; none of one that lost something on its way."""
    try:
        return list(packet.decode())
    except broken:
        return []


def _with_opencv(address: Address, timeout: float, stopped: Event) -> Images:
    cv2 = load_opencv()
    if address.kind not in (Kind.FIFO, Kind.STDIN):
        yield from _captured(cv2, address, address.text, timeout, stopped)
        return
    with closing(_pipe(address, stopped)) as pipe:
        if pipe.wait():  # FFmpeg takes a FIFO without a writer for one that ended
            yield from _captured(cv2, address, f"pipe:{pipe.fileno}", timeout, stopped)


def _captured(cv2: Any, address: Address, text: str, timeout: float, stopped: Event) -> Images:
    capture = _open(cv2, address.kind, text, int(1e3 * timeout))
    try:
        if not capture.isOpened():
            raise LostError("cannot be opened by OpenCV")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited; not every driver listens
        while not stopped.is_set():
            try:
                ok, pixels = capture.read()
            except cv2.error:
                raise LostError("cannot be read by OpenCV") from None
            if not ok:
                break
            yield from_opencv(pixels)
        if address.kind in (Kind.URL, Kind.PIPELINE) and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
            raise RecordingEndError
    finally:
        capture.release()


def _open(cv2: Any, kind: Kind, text: str, limit: int) -> Any:
    """A capture of the one backend that is meant; ``limit`` in milliseconds.

    Others fail with messages of their own, in which an address stands with its password.
    """
    if kind is Kind.PIPELINE:
        return cv2.VideoCapture(text, cv2.CAP_GSTREAMER)
    if kind in (Kind.NUMBER, Kind.DEVICE):
        camera = int(text) if kind is Kind.NUMBER else os.path.realpath(text)  # a link of /dev/v4l/by-id
        return cv2.VideoCapture(camera, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
    return cv2.VideoCapture(text, cv2.CAP_FFMPEG, limits)


def _pipe(address: Address, stopped: Event) -> Pipe:
    try:
        return Pipe(address.text if address.kind is Kind.FIFO else None, stopped)
    except OSError as error:
        raise LostError(f"cannot be opened ({error.strerror})") from None
