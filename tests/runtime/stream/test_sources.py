import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.stream.sources import Camera, Folder, Video, open_source

RED = np.full((6, 8, 3), (200, 30, 10), np.uint8)


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
        Folder(tmp_path / "nosuch")


@pytest.mark.parametrize(
    ("address", "rate", "message"),
    [("nosuch", None, "does not exist"), ("0", 30.0, "its own rate"), ("rtsp://cup/1", 30.0, "its own rate")],
)
def test_sources_that_are_refused(address: str, rate: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(address, rate)


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


class Capture:
    """Three frames, BGR, and a camera that can be unplugged."""

    released = 0

    def __init__(self, address: int | str) -> None:
        self.left = 3 if address != 9 else 0
        self.opened = address != 8

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, *_: object) -> None: ...

    def get(self, _: object) -> float:
        return 40.0 * (2 - self.left)

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, RED[..., ::-1]) if self.left >= 0 else (False, None)

    def release(self) -> None:
        Capture.released += 1


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(VideoCapture=Capture, CAP_PROP_BUFFERSIZE=38, CAP_PROP_POS_MSEC=0)
    monkeypatch.setitem(sys.modules, "cv2", fake)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(Capture, "released", 0)


@pytest.mark.usefixtures("opencv")
def test_a_camera() -> None:
    source = open_source("0")
    assert isinstance(source, Camera)
    assert source.live
    frames = iter(source)
    before = time.time()
    frame = next(frames)
    assert before <= (frame.timestamp or 0) <= time.time()
    np.testing.assert_array_equal(np.asarray(load_image(frame.image)), RED)
    source.stop()
    assert list(frames) == []
    assert Capture.released == 1


@pytest.mark.usefixtures("opencv")
def test_cameras_that_fail() -> None:
    with pytest.raises(InputError, match="camera 8 cannot be opened"):
        next(iter(Camera(8)))
    with pytest.raises(InputError, match="camera 9 gives no more frames"):
        next(iter(Camera(9)))
    assert Capture.released == 2


@pytest.mark.usefixtures("opencv")
def test_a_video_without_pyav(tmp_path: Path) -> None:
    (tmp_path / "film.avi").write_bytes(b"x")
    source = open_source(str(tmp_path / "film.avi"))
    assert isinstance(source, Video)
    assert not source.live
    frames = list(source)
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 0.04, 0.08])
    assert frames[2].name == "film-000002"


def film(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            pixels = np.full((48, 64, 3), (200, 30, 40 * number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_real_video(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    film(tmp_path / "film.mp4")
    if package == "cv2":
        pytest.importorskip("cv2")
        monkeypatch.setitem(sys.modules, "av", None)
    frames = list(Video(tmp_path / "film.mp4"))
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-3)
    for number, frame in enumerate(frames):
        colour = np.asarray(load_image(frame.image)).mean((0, 1))
        assert np.abs(colour - (200, 30, 40 * number)).max() < 12


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_file_that_is_no_video(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    if package == "cv2":
        monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "film.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match=r"film\.mp4 cannot be"):
        list(Video(tmp_path / "film.mp4"))
