"""Stand-ins for what is live: a real MJPEG stream over HTTP, encoded videos, a module in place of OpenCV."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

SECRETS = ("mallory", "sesame", "t0k3n")  # of the URL of MotionJpeg

RED = np.full((6, 8, 3), (200, 30, 10), np.uint8)


def pictures(count: int) -> Iterator[np.ndarray]:
    """RGB images that differ in their blue."""
    for number in range(count):
        yield np.full((48, 64, 3), (200, 30, blue(number)), np.uint8)


def blue(number: int) -> int:
    """Of a picture. An encoder keeps large steps only."""
    return 40 * (number % 6)


def film(path: Path, file_format: str | None = None, codec: str = "mpeg4", count: int = 30) -> None:
    """Encode ``pictures``, 25 a second."""
    import av

    with av.open(str(path), "w", format=file_format) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for pixels in pictures(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


class MotionJpeg:
    """An IP camera on the loopback: each visit gets the next number of ``visits`` as frames and is then cut off."""

    def __init__(self, visits: list[int]) -> None:
        self._visits = iter(visits)
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                count = next(camera._visits, None)
                if count is None:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for pixels in pictures(count):
                    picture = io.BytesIO()
                    Image.fromarray(pixels).save(picture, "jpeg")
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {picture.tell()}\r\n\r\n"
                    self.wfile.write(head.encode() + picture.getvalue() + b"\r\n")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://mallory:open%2Fsesame@127.0.0.1:{self._server.server_port}/live?key=t0k3n"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its URL, with what must not be shown."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self.url
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class Capture:
    """OpenCV's capture: ``visits`` tell how many frames each opening gives; None: it does not open; -1: it hangs."""

    visits: list[int | None] = []  # noqa: RUF012
    opened: list[tuple[Any, ...]] = []  # noqa: RUF012
    released = 0
    free = threading.Event()  # lets what hangs go

    def __init__(self, *arguments: Any) -> None:
        Capture.opened.append(arguments)
        self.left = Capture.visits.pop(0) if Capture.visits else None

    def isOpened(self) -> bool:  # noqa: N802
        return self.left is not None

    def set(self, *_: object) -> None: ...

    def get(self, what: int) -> float:
        return 40.0 * (2 - (self.left or 0)) if what == OPENCV.CAP_PROP_POS_MSEC else -1.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        assert self.left is not None
        if self.left == -1:
            Capture.free.wait(30)
            return False, None
        self.left -= 1
        return (True, RED[..., ::-1]) if self.left >= 0 else (False, None)

    def release(self) -> None:
        Capture.released += 1


OPENCV = SimpleNamespace(
    VideoCapture=Capture,
    error=ArithmeticError,
    __version__="4.10.0",
    getBuildInformation=lambda: "  Video I/O:\n    GStreamer:                   YES (1.20.3)\n",
    CAP_ANY=0,
    CAP_V4L2=200,
    CAP_GSTREAMER=1800,
    CAP_FFMPEG=1900,
    CAP_PROP_POS_MSEC=0,
    CAP_PROP_FRAME_COUNT=7,
    CAP_PROP_BUFFERSIZE=38,
    CAP_PROP_OPEN_TIMEOUT_MSEC=53,
    CAP_PROP_READ_TIMEOUT_MSEC=54,
)
