"""Pictures into a video file, through PyAV or OpenCV, whichever is installed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image, ImageOps

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.stream import video

# Ending -> codec of PyAV and of OpenCV.
_CODECS = {
    ".mp4": ("libx264", "mp4v"),
    ".mov": ("libx264", "mp4v"),
    ".mkv": ("libx264", "mp4v"),
    ".webm": ("libvpx-vp9", "VP90"),
}
_SUBSTITUTE = "mpeg4"  # every FFmpeg has it
_RATE = 10.0  # pictures a second where nothing tells their times
_RATES = (1.0, 240.0)
_TICKS = 1000  # a second, in which PyAV is told times


def check_video(path: Path) -> None:
    """Raise InputError for an ending that :class:`Recording` does not know, or a folder that is not there."""
    if path.suffix.lower() not in _CODECS:
        raise InputError(f"{path} is no name of a video to write; end it in {', '.join(_CODECS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first")


class Recording:
    """A video file that is there once it is closed, with whatever was added until then.

    With PyAV a picture is shown from its own time to that of the next; OpenCV knows one rate, which is that of the
    first two. All have the size of the first: others are scaled to fit into it, and an odd side gets a black line more.

    Raises:
        InputError: the ending of ``path`` is of no known kind of video, or its folder is not there.
        BackendError: neither package is installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = arguments.path("the video to write", path, "a file's name")
        check_video(self.path)
        self._part = self.path.with_name(f".xsam-{uuid4().hex}{self.path.suffix.lower()}")
        kinds: dict[str, type[_Writer]] = {"av": _PyAv, "cv2": _OpenCv}
        kind = next((kind for package, kind in kinds.items() if video.installed(package)), None)
        if kind is None:
            raise video.missing(f"writing {self.path}")
        self._writer = kind(self._part)
        self._count, self._last = 0, 0.0
        self._first: float | None = None
        self._size = (0, 0)
        self._closed = False

    def add(self, image: Image.Image, seconds: float | None = None) -> None:
        """Add a picture; ``seconds`` is its time on any clock, without one it follows at 10 a second.

        Raises:
            InputError: it cannot be encoded.
        """
        if not self._count:
            self._size = (image.width + image.width % 2, image.height + image.height % 2)
            self._first = seconds
        if seconds is None or self._first is None:
            time = self._last + 1 / _RATE if self._count else 0.0
        else:
            time = seconds - self._first
        if self._count:
            time = max(time, self._last + 1 / _TICKS)  # two at one time, or a clock that was set back
        self._writer.add(_fitted(image.convert("RGB"), self._size), time)
        self._count, self._last = self._count + 1, time

    def close(self) -> None:
        """Finish the file and give it its name. Without a picture there is none. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.close()
            if self._count and self._part.exists():
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Writer(ABC):
    """Pictures of one size with their times in seconds, which rise."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @abstractmethod
    def add(self, image: Image.Image, time: float) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class _PyAv(_Writer):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._av = video.load_pyav()
        self._container: Any = None

    def add(self, image: Image.Image, time: float) -> None:
        try:
            if self._container is None:
                self._open(image)
            frame = self._av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = round(_TICKS * time), Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(frame))
        except self._av.FFmpegError as error:
            raise InputError(f"the video cannot be encoded ({error}); choose another kind of file") from error

    def _open(self, image: Image.Image) -> None:
        self._container = self._av.open(str(self._path), "w")
        codec = _CODECS[self._path.suffix][0]
        if codec not in self._av.codecs_available:
            codec = _SUBSTITUTE
        self._stream = self._container.add_stream(codec, rate=round(_RATE))
        self._stream.width, self._stream.height = image.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)

    def close(self) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()


class _OpenCv(_Writer):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._cv2 = video.load_opencv()
        self._waiting: tuple[Image.Image, float] | None = None  # the first, until a second tells the rate
        self._file: Any = None

    def add(self, image: Image.Image, time: float) -> None:
        if self._file is None and self._waiting is None:
            self._waiting = image, time
            return
        if self._waiting is not None:
            first, start = self._waiting
            self._waiting = None
            self._open(first, 1 / (time - start))
        self._write(image)

    def _open(self, image: Image.Image, rate: float) -> None:
        code = self._cv2.VideoWriter_fourcc(*_CODECS[self._path.suffix][1])
        rate = min(max(rate, _RATES[0]), _RATES[1])
        self._file = self._cv2.VideoWriter(str(self._path), code, rate, image.size)
        if not self._file.isOpened():
            raise InputError(f"OpenCV cannot write {self._path.suffix} files; choose another ending, or install PyAV")
        self._write(image)

    def _write(self, image: Image.Image) -> None:
        self._file.write(np.ascontiguousarray(np.asarray(image)[..., ::-1]))

    def close(self) -> None:
        if self._waiting is not None:
            self._open(self._waiting[0], _RATE)
        if self._file is not None:
            self._file.release()


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    if all(0 <= wanted - given <= 1 for wanted, given in zip(size, image.size, strict=True)):
        canvas = Image.new("RGB", size)
        canvas.paste(image)
        return canvas
    return ImageOps.pad(image, size)
