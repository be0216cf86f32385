"""Videos, cameras and network streams as images, through PyAV or OpenCV, whichever is installed.

Neither is a dependency: folders and frames of one's own need none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.image.load import ImageSource

Decoded = Iterator[tuple[float | None, ImageSource]]  # seconds in the recording where it has any, image


def decoder(address: int | str) -> Callable[[], Decoded]:
    """What decodes a file, a URL or, by its number, a camera.

    PyAV comes first for files and URLs, because it knows the time of every frame; a camera takes OpenCV.

    Raises:
        BackendError: no package is installed that reads it.
    """
    if isinstance(address, str) and _installed("av"):
        return lambda: _with_pyav(address)
    if _installed("cv2"):
        return lambda: _with_opencv(address)
    what, packages = ("a camera", "") if isinstance(address, int) else (address, "`pip install av` or ")
    raise BackendError(
        f"{what} needs a package that is not installed; run {packages}`pip install opencv-python-headless`"
    )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module without a spec, as tests put it there
        return True


def _with_pyav(address: str) -> Decoded:
    av: Any = import_module("av")
    try:
        with av.open(address) as container:
            if not container.streams.video:
                raise InputError(f"{address} holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                turned = int(getattr(frame, "rotation", 0))
                image = frame.to_image()
                yield frame.time, image.rotate(turned, expand=True) if turned else image
    except av.FFmpegError as error:
        raise InputError(f"{address} cannot be decoded ({error}); check the address, or convert the video") from error


def _with_opencv(address: int | str) -> Decoded:
    cv2: Any = import_module("cv2")
    capture = cv2.VideoCapture(address)
    try:
        if not capture.isOpened():
            what = f"camera {address}" if isinstance(address, int) else address
            raise InputError(f"{what} cannot be opened by OpenCV; check that it exists and that nothing else uses it")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited; not every driver listens
        while True:
            ok, pixels = capture.read()
            if not ok:
                if isinstance(address, int):
                    raise InputError(f"camera {address} gives no more frames; check its cable")
                return
            yield 1e-3 * capture.get(cv2.CAP_PROP_POS_MSEC), Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    finally:
        capture.release()
