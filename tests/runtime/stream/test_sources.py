import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.stream.live import RED, Capture, blue, film
from xsam_edge.runtime.errors import BackendError, ImageError, InputError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.sources import Folder, Video, open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("frame10.png", "frame9.png", "frame1.jpg", ".hidden.png"):
        Image.fromarray(RED).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_in_the_order_of_its_numbers(folder: Path) -> None:
    source = Folder(folder)
    assert not source.live
    assert [frame.name for frame in source] == ["frame1.jpg", "frame9.png", "frame10.png"]
    assert all(frame.timestamp is None and frame.arrived is None for frame in Folder(folder))
    assert load_image(next(iter(source)).image).size == (8, 6)


def test_a_folder_at_a_rate(folder: Path) -> None:
    source = Folder(folder, rate=50)
    assert source.live
    start = time.monotonic()
    frames = list(source)
    assert 0.04 <= time.monotonic() - start < 0.3
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 0.02, 0.04])
    arrived = [frame.arrived for frame in frames if frame.arrived is not None]
    assert arrived == pytest.approx([arrived[0], arrived[0] + 0.02, arrived[0] + 0.04])


@pytest.mark.parametrize("rate", [None, 0.1])
def test_stop_ends_a_folder(folder: Path, rate: float | None) -> None:
    source = Folder(folder, rate)
    frames = iter(source)
    next(frames)
    timer = threading.Timer(0.02 if rate else 0, source.stop)
    timer.start()
    timer.join() if rate is None else None
    start = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - start < 2
    timer.join()


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        Folder(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        Folder("x" * 400)
    with pytest.raises(InputError, match="not a file"):
        Video("x" * 400)
    with pytest.raises(InputError, match="not a folder"):
        Folder(tmp_path / "nosuch")


@pytest.mark.parametrize(
    ("address", "rate", "message"),
    [("nosuch", None, "does not exist"), ("0", 30.0, "its own rate"), ("rtsp://cup/1", 30.0, "its own rate")],
)
def test_sources_that_are_refused(address: str, rate: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(address, rate)


def test_only_what_is_live_is_opened_again(folder: Path) -> None:
    (folder / "film.mp4").write_bytes(b"x")
    for path, what in ((folder, "a folder"), (folder / "film.mp4", "a file")):
        with pytest.raises(InputError, match=f"is {what}, which is read once; leave attempts and timeout out"):
            open_source(str(path), reconnect=Reconnect())


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_must_be_a_number(rate: float, folder: Path) -> None:
    with pytest.raises(InputError, match="rate"):
        open_source(str(folder), rate)


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "film.mp4").write_bytes(b"x")
    with pytest.raises(BackendError, match=r"pip install av.* or .*opencv-python-headless"):
        open_source(str(tmp_path / "film.mp4"))
    with pytest.raises(BackendError, match="run `pip install opencv-python-headless`"):
        open_source("0")
    with pytest.raises(BackendError, match=r"^/dev/null needs a package .*pip install av.* or"):
        open_source("/dev/null")


def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    (tmp_path / "film.mp4").write_bytes(b"x")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    for address in (str(tmp_path / "film.mp4"), "0"):
        with pytest.raises(
            BackendError, match=r"OpenCV cannot be loaded \(libGL.* `pip install opencv-python-headless`"
        ):
            next(iter(open_source(address)))


def test_a_video_without_pyav(tmp_path: Path, opencv: type[Capture]) -> None:
    opencv.visits = [3]
    (tmp_path / "film.avi").write_bytes(b"x")
    source = open_source(str(tmp_path / "film.avi"))
    assert isinstance(source, Video)
    assert not source.live
    frames = list(source)
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 0.04, 0.08])
    assert frames[2].name == "film-000002"


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_real_video(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    film(tmp_path / "film.mp4")
    if package == "cv2":
        pytest.importorskip("cv2")
        monkeypatch.setitem(sys.modules, "av", None)
    frames = list(Video(tmp_path / "film.mp4"))
    assert [frame.timestamp for frame in frames] == pytest.approx([0.04 * number for number in range(30)], abs=1e-3)
    for number, frame in enumerate(frames):
        colour = np.asarray(load_image(frame.image)).mean((0, 1))
        assert np.abs(colour - (200, 30, blue(number))).max() < 12


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_file_that_is_no_video(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    if package == "cv2":
        monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "film.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match=r"film\.mp4 cannot be"):
        list(Video(tmp_path / "film.mp4"))


def test_a_damaged_part_of_a_video_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.avi"
    film(path, codec="mjpeg", count=6)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        position, size = packets[3].pos, packets[3].size
    content = bytearray(path.read_bytes())
    content[position + 8 : position + 8 + size] = bytes(size)
    path.write_bytes(content)
    images = [frame.image for frame in Video(path)]
    (damage,) = [image for image in images if isinstance(image, ImageError)]
    assert len(images) >= 5, "threads of the decoder may lose a frame beside it"
    assert str(damage) == f"a part of {path} is damaged (Invalid data found when processing input)"
