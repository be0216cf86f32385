"""Video files as images, through PyAV or OpenCV, whichever is installed; and what live sources share with them.

Neither is a dependency: folders and frames of one's own need none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.errors import BackendError, ImageError, InputError

# Seconds in the recording where it has any, and an image or what is wrong with it.
Decoded = Iterator[tuple[float | None, Image.Image | ImageError]]


def decoder(path: str) -> Callable[[], Decoded]:
    """What decodes a file. PyAV comes first, because it knows the time of every frame.

    Raises:
        BackendError: neither package is installed.
    """
    if installed("av"):
        return lambda: _with_pyav(path)
    if installed("cv2"):
        return lambda: _with_opencv(path)
    raise missing(path)


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # a module without a spec, as tests put it there
        return True


def load_pyav() -> Any:
    """PyAV.

    Raises:
        BackendError: it, or a library of the system that it needs, cannot be loaded.
    """
    try:
        return import_module("av")
    except ImportError as error:
        raise BackendError(f"PyAV cannot be loaded ({error}); run `pip install av`") from error


def load_opencv() -> Any:
    """OpenCV.

    Raises:
        BackendError: it, or a library of the system that it needs, cannot be loaded.
    """
    try:
        return import_module("cv2")
    except ImportError as error:
        raise BackendError(f"OpenCV cannot be loaded ({error}); run `pip install opencv-python-headless`") from error


def missing(what: str, packages: str = "`pip install av` or `pip install opencv-python-headless`") -> BackendError:
    """The error of a source that nothing installed reads."""
    return BackendError(f"{what} needs a package that is not installed; run {packages}")


def from_pyav(frame: Any) -> Image.Image:
    """A frame of PyAV, upright."""
    turned = int(getattr(frame, "rotation", 0))
    image: Image.Image = frame.to_image()
    return image.rotate(turned, expand=True) if turned else image


def from_opencv(pixels: np.ndarray) -> Image.Image:
    """An image of OpenCV, uint8 [H, W] or [H, W, 3 or 4] (BGR)."""
    return Image.fromarray(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 2::-1]))


def _with_pyav(path: str) -> Decoded:
    av = load_pyav()
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError as error:
                    yield None, ImageError(f"a part of {path} is damaged ({error.strerror})")
                    continue
                for frame in frames:
                    yield frame.time, from_pyav(frame)
    except av.FFmpegError as error:
        raise InputError(f"{path} cannot be decoded ({error}); check the address, or convert the video") from error


def _with_opencv(path: str) -> Decoded:
    cv2 = load_opencv()
    capture = cv2.VideoCapture(path)
    try:
        if not capture.isOpened():
            raise InputError(f"{path} cannot be opened by OpenCV; check that it is a video, or convert it")
        while True:
            ok, pixels = capture.read()
            if not ok:
                return
            yield 1e-3 * capture.get(cv2.CAP_PROP_POS_MSEC), from_opencv(pixels)
    finally:
        capture.release()
