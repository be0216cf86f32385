import os
import sys
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from tests.runtime.stream.live import OPENCV, RED, Capture
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.stream.address import locate
from xsam_edge.runtime.stream.capture import LostError, RecordingEndError, capture_of

V4L2 = OPENCV.CAP_V4L2 if sys.platform == "linux" else OPENCV.CAP_ANY
LIMITS = [OPENCV.CAP_PROP_OPEN_TIMEOUT_MSEC, 3000, OPENCV.CAP_PROP_READ_TIMEOUT_MSEC, 3000]


@pytest.mark.parametrize(
    ("address", "arguments"),
    [
        ("3", (3, V4L2)),
        ("/dev/null", ("/dev/null", V4L2)),
        ("rtsp://cup/1", ("rtsp://cup/1", OPENCV.CAP_FFMPEG, LIMITS)),
        ("v4l2src ! appsink", ("v4l2src ! appsink", OPENCV.CAP_GSTREAMER)),
    ],
)
def test_what_opencv_opens(address: str, arguments: tuple[object, ...], opencv: type[Capture]) -> None:
    opencv.visits = [2]
    images = list(capture_of(locate(address), timeout=2)(Event()))
    assert opencv.opened == [arguments]
    assert opencv.released == 1
    assert len(images) == 2
    np.testing.assert_array_equal(np.asarray(images[0]), RED)


def test_a_device_is_what_its_link_points_at(tmp_path: Path, opencv: type[Capture]) -> None:
    (tmp_path / "usb-camera-index0").symlink_to("/dev/null")
    opencv.visits = [1]
    list(capture_of(locate(str(tmp_path / "usb-camera-index0")), 2)(Event()))
    assert opencv.opened == [("/dev/null", V4L2)]


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 4)])
def test_grey_frames_and_those_with_a_fourth_channel(
    shape: tuple[int, ...], opencv: type[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    monkeypatch.setattr(opencv, "read", lambda _: (True, pixels))
    opencv.visits = [1]
    image = np.asarray(next(capture_of(locate(0), 2)(Event())))
    np.testing.assert_array_equal(image, pixels if len(shape) == 2 else pixels[..., [2, 1, 0]])


@pytest.mark.parametrize(("address", "ends"), [("http://cup/film.mp4", 1), ("filesrc ! appsink", 1), ("0", 0)])
def test_a_recording_has_an_end(
    address: str, ends: int, opencv: type[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencv, "get", lambda *_: 1.0)
    opencv.visits = [1]
    images = capture_of(locate(address), 2)(Event())
    next(images)
    with pytest.raises(RecordingEndError if ends else StopIteration):
        next(images)


def test_errors_of_opencv(opencv: type[Capture], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise OPENCV.error

    with pytest.raises(LostError, match="cannot be opened by OpenCV"):
        next(capture_of(locate(0), 2)(Event()))
    monkeypatch.setattr(opencv, "read", broken)
    opencv.visits = [1]
    with pytest.raises(LostError, match="cannot be read by OpenCV"):
        next(capture_of(locate(0), 2)(Event()))
    assert opencv.released == 2


@pytest.mark.usefixtures("opencv")
def test_a_pipeline_without_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPENCV, "getBuildInformation", lambda: "    GStreamer:                   NO\n")
    with pytest.raises(BackendError, match=r"OpenCV 4\.10\.0 was not; use the system's"):
        capture_of(locate("v4l2src ! appsink"), 2)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendError, match="none is installed; use the system's"):
        capture_of(locate("v4l2src ! appsink"), 2)


def test_opencv_of_pypi_has_no_gstreamer() -> None:
    cv2 = pytest.importorskip("cv2")
    if "GStreamer:                   NO" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(BackendError, match="was not; use the system's"):
        capture_of(locate("v4l2src ! appsink"), 2)


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_device_that_is_no_camera(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    monkeypatch.setitem(sys.modules, {"av": "cv2", "cv2": "av"}[package], None)
    with pytest.raises(LostError, match=r"cannot be (opened by OpenCV|read \(Inappropriate ioctl)"):
        next(capture_of(locate("/dev/null"), 2)(Event()))


def test_a_fifo_that_went_away(tmp_path: Path, opencv: type[Capture]) -> None:
    os.mkfifo(tmp_path / "fifo")
    capture = capture_of(locate(str(tmp_path / "fifo")), 2)
    (tmp_path / "fifo").unlink()
    with pytest.raises(LostError, match=r"cannot be opened \(No such file"):
        next(capture(Event()))
    assert opencv.opened == []
