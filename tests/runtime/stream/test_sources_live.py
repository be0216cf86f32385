import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.stream.live import RED, SECRETS, Capture, MotionJpeg, blue, film
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.sources import Camera, SourceFrame, open_source

SOON = Reconnect(attempts=2, delay=0.01, timeout=30)


def names(frames: Iterator[SourceFrame] | Camera) -> list[str | None]:
    return [frame.name for frame in frames]


def numbered(count: int) -> list[str]:
    return [f"frame-{number:06d}" for number in range(count)]


def only(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one of the packages that read what is live."""
    pytest.importorskip(package)
    monkeypatch.setitem(sys.modules, {"av": "cv2", "cv2": "av"}[package], None)


# Cameras, through a stand-in for OpenCV.


@pytest.mark.parametrize("address", ["0", "/dev/null"])
def test_a_camera(address: str, opencv: type[Capture]) -> None:
    opencv.visits = [3]
    source = open_source(address)
    assert isinstance(source, Camera)
    assert source.live
    frames = iter(source)
    before = time.time()
    frame = next(frames)
    assert before <= (frame.timestamp or 0) <= time.time()
    assert frame.arrived is not None
    np.testing.assert_array_equal(np.asarray(load_image(frame.image)), RED)
    source.stop()
    assert list(frames) == []
    assert opencv.released == 1


def test_a_camera_that_was_never_there(opencv: type[Capture]) -> None:
    opencv.visits = [None, 3]
    with pytest.raises(InputError, match="camera 8 cannot be opened by OpenCV; check its cable, its place among"):
        next(iter(Camera(8, SOON)))
    opencv.visits = [0, 3]
    with pytest.raises(InputError, match="camera 9 gives no more frames; check its cable"):
        next(iter(Camera(9, SOON)))
    assert opencv.released == 2


def test_a_camera_comes_back(opencv: type[Capture], caplog: pytest.LogCaptureFixture) -> None:
    """After two openings in vain, then after one: attempts are counted in a row."""
    opencv.visits = [2, None, None, 1, None, 2, None, None, None]
    source = Camera(0, Reconnect(attempts=3, delay=0.01))
    frames = iter(source)
    assert names(next(frames) for _ in range(5)) == numbered(5)
    assert source.reconnects == 2
    with pytest.raises(InputError, match="camera 0 cannot be opened by OpenCV, even in 3 attempts to open it again; "):
        next(frames)
    assert [(record.levelno, record.message) for record in caplog.records][:4] == [
        (logging.WARNING, "camera 0 gives no more frames; opening it again in 0.01 s (attempt 1 of 3)"),
        (logging.WARNING, "camera 0 cannot be opened by OpenCV; opening it again in 0.02 s (attempt 2 of 3)"),
        (logging.WARNING, "camera 0 cannot be opened by OpenCV; opening it again in 0.04 s (attempt 3 of 3)"),
        (logging.WARNING, "camera 0 gives frames again"),
    ]


def test_a_camera_that_stops_is_an_error_where_it_is_not_opened_again(opencv: type[Capture]) -> None:
    opencv.visits = [1, 1]
    frames = iter(Camera(0, Reconnect(attempts=0)))
    next(frames)
    with pytest.raises(InputError, match="camera 0 gives no more frames; check its cable"):
        next(frames)


def test_a_camera_that_hangs(opencv: type[Capture], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library is left alone: a second opening would fight with the first, which may hold the device."""
    monkeypatch.setattr("xsam_edge.runtime.stream.sources._GRACE", 0.01)
    opencv.visits = [-1, 3]
    with pytest.raises(InputError, match=r"camera 0 gave no frame within its timeout of 0\.05 s; check its cable"):
        next(iter(Camera(0, Reconnect(timeout=0.05))))
    opencv.visits = [1, -1, 3]
    frames = iter(Camera(0, Reconnect(attempts=2, delay=0.01, timeout=0.2)))
    next(frames)
    with pytest.raises(InputError, match="cannot be opened again, since the library still waits for it, even in 2 att"):
        next(frames)
    assert opencv.visits == [3]


def test_a_camera_that_hung_is_opened_again_when_its_library_lets_go(opencv: type[Capture]) -> None:
    opencv.visits = [1, -1, 3]
    threading.Timer(0.2, opencv.free.set).start()
    frames = iter(Camera(0, Reconnect(delay=0.01, timeout=0.1)))
    assert names(next(frames) for _ in range(3)) == numbered(3)


@pytest.mark.parametrize(("visits", "frames"), [([-1], 0), ([1, None], 1)])
def test_stop_ends_a_wait(
    visits: list[int | None], frames: int, opencv: type[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the library, and for the next attempt."""
    monkeypatch.setattr("xsam_edge.runtime.stream.sources._GRACE", 0.01)
    opencv.visits = visits
    source = Camera(0, Reconnect(delay=60, timeout=60, longest=60))
    threading.Timer(0.1, source.stop).start()
    start = time.monotonic()
    assert names(source) == numbered(frames)
    assert time.monotonic() - start < 5
    assert names(source) == [], "a source that was stopped stays so"


def test_what_is_no_camera(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; a camera was expected"):
        Camera(str(tmp_path))
    with pytest.raises(InputError, match="standard input cannot be opened again"):
        Camera("-", Reconnect(attempts=1))


# FIFOs, into which a real video is written.


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def write(target: Path, content: bytes) -> threading.Thread:
    """Write slowly, as who has no more."""

    def write_all() -> None:
        with target.open("wb", buffering=0) as opened:
            for start in range(0, len(content), 1000):
                opened.write(content[start : start + 1000])

    thread = threading.Thread(target=write_all)
    thread.start()
    return thread


@pytest.mark.parametrize(("file_format", "codec"), [("mpegts", "mpeg2video"), ("mjpeg", "mjpeg")])
@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_fifo_ends_with_its_writer(
    package: str, file_format: str, codec: str, fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    film(tmp_path / "film", file_format, codec)
    only(package, monkeypatch)
    source = open_source(str(fifo), reconnect=Reconnect(timeout=30))
    assert source.live
    writer = write(fifo, (tmp_path / "film").read_bytes())
    frames = list(source)
    writer.join()
    assert names(iter(frames)) == numbered(30)
    for number, frame in enumerate(frames):
        colour = np.asarray(load_image(frame.image)).mean((0, 1))
        assert np.abs(colour - (200, 30, blue(number))).max() < 12


def test_a_fifo_whose_writers_come_and_go(fifo: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    film(tmp_path / "film", "mjpeg", "mjpeg")
    source = Camera(str(fifo), SOON)
    frames = iter(source)
    taken = []
    for _ in range(3):
        writer = write(fifo, (tmp_path / "film").read_bytes())
        taken += [next(frames) for _ in range(30)]
        writer.join()
        # The next writer would take the place of one whose end was not seen yet.
        assert source._reader is not None and source._reader.ended(10)
    assert names(iter(taken)) == numbered(90)
    assert source.reconnects == 2
    source.stop()
    assert list(frames) == []


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_fifo_that_nobody_writes_to(package: str, fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(package, monkeypatch)
    start = time.monotonic()
    with pytest.raises(
        InputError, match=r"fifo gave no frame within its timeout of 0\.2 s; check that something writes"
    ):
        next(iter(Camera(str(fifo), Reconnect(timeout=0.2))))
    source = Camera(str(fifo))
    threading.Timer(0.1, source.stop).start()
    assert names(source) == []
    assert time.monotonic() - start < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "xsam-reader"]


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_fifo_with_something_else(package: str, fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(package, monkeypatch)
    writer = write(fifo, b"no video at all")
    with pytest.raises(InputError, match=r"fifo cannot be (read \(Invalid data.*\)|opened by OpenCV); check that"):
        next(iter(Camera(str(fifo), Reconnect(timeout=30))))
    writer.join()


STDIN = """
import sys
from xsam_edge.runtime.stream.sources import open_source

print(*(frame.name for frame in open_source("-")))
"""


def test_standard_input(tmp_path: Path) -> None:
    pytest.importorskip("av")
    film(tmp_path / "film", "mpegts", "mpeg2video")
    for given in ({"input": (tmp_path / "film").read_bytes()}, {"stdin": (tmp_path / "film").open("rb")}):
        process = subprocess.run([sys.executable, "-c", STDIN], capture_output=True, timeout=60, **given)  # type: ignore[call-overload]
        assert process.stdout.decode().split() == numbered(30), process.stderr


# Streams over the network.


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_stream_that_stops_and_comes_back(
    package: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    only(package, monkeypatch)
    with MotionJpeg([10, 12, 8]).running() as url:
        source = open_source(url, reconnect=SOON)
        assert isinstance(source, Camera)
        frames, taken = iter(source), []
        with pytest.raises(InputError) as error:
            taken += iter(lambda: next(frames), None)
    assert names(iter(taken)) == numbered(30)
    assert source.reconnects == 2
    assert str(error.value).startswith("http://***@127.0.0.1:")
    assert "even in 2 attempts to open it again; check the address and that its server sends" in str(error.value)
    shown = str(error.value) + caplog.text + "".join(capfd.readouterr())
    assert "opening it again in 0.01 s (attempt 1 of 2)" in caplog.text
    assert error.value.__cause__ is error.value.__context__ is None
    assert not any(secret in shown for secret in SECRETS)


def test_a_stream_that_is_not_opened_again_ends() -> None:
    pytest.importorskip("av")
    with MotionJpeg([10, 10]).running() as url:
        assert names(Camera(url, Reconnect(attempts=0))) == numbered(10)


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_recording_behind_a_url_is_read_once(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    film(tmp_path / "film.mp4")
    only(package, monkeypatch)
    assert names(Camera((tmp_path / "film.mp4").as_uri(), SOON)) == numbered(30)


@pytest.fixture
def silent() -> Iterator[Callable[[str], str]]:
    """A server that accepts and never answers, as an address of a protocol."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield lambda scheme: f"{scheme}://user:secret@127.0.0.1:{server.getsockname()[1]}/live"


@pytest.mark.parametrize("package", ["av", "cv2"])
@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_never_answers(
    scheme: str, package: str, silent: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    only(package, monkeypatch)
    monkeypatch.setattr("xsam_edge.runtime.stream.sources._GRACE", 0.01)
    monkeypatch.setattr("xsam_edge.runtime.stream.capture._GRACE", 0.5)
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"^{scheme}://\*\*\*@127[^ ]* gave no frame within its timeout of 0\.3 s"):
        next(iter(Camera(silent(scheme), Reconnect(timeout=0.3))))
    assert time.monotonic() - start < 5
    (reader,) = (thread for thread in threading.enumerate() if thread.name == "xsam-reader")
    reader.join(10)
    assert not reader.is_alive(), "the library's own limit ends what was left alone"


def test_stop_ends_a_wait_for_a_server(silent: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("xsam_edge.runtime.stream.sources._GRACE", 0.01)
    source = Camera(silent("http"), Reconnect(timeout=1))
    threading.Timer(0.1, source.stop).start()
    start = time.monotonic()
    assert names(source) == []
    assert time.monotonic() - start < 0.9


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:9/", r"cannot be read \(Connection refused\); check the address"),
        ("nosuch://cup/1", r"nosuch://cup/1 cannot be read \(Protocol not found\)"),
    ],
)
def test_addresses_without_a_server(address: str, message: str) -> None:
    pytest.importorskip("av")
    with pytest.raises(InputError, match=message):
        next(iter(Camera(address)))
