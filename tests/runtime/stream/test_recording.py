from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.stream.recording import Recording
from xsam_edge.runtime.stream.sources import Video

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


@pytest.fixture(params=["av", "cv2"])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the packages, without the other."""
    pytest.importorskip(request.param)
    monkeypatch.setattr("xsam_edge.runtime.stream.video.installed", lambda name: name == request.param)
    return request.param


def pictures(size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    return [Image.new("RGB", size, colour) for colour in COLOURS]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".MOV"])
def test_what_was_added_is_read_again(package: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{ending}"
    with Recording(path) as recording:
        for number, picture in enumerate(pictures()):
            recording.add(picture, 100 + number / 4)
        assert not path.exists(), "half a video is none"
    assert list(tmp_path.iterdir()) == [path]
    frames = list(Video(path))
    assert len(frames) == 3
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert frame.image.size == (64, 48)
        np.testing.assert_allclose(np.asarray(frame.image)[24, 32], colour, atol=25)
    np.testing.assert_allclose(np.diff([frame.timestamp for frame in frames]), 0.25, atol=0.01)


def test_times_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with Recording(tmp_path / "out.mp4") as recording:
        for picture, seconds in zip(pictures(), (3.0, 3.1, 5.0), strict=True):
            recording.add(picture, seconds)
    np.testing.assert_allclose([frame.timestamp for frame in Video(tmp_path / "out.mp4")], [0, 0.1, 2], atol=0.002)


def test_without_times(package: str, tmp_path: Path) -> None:
    with Recording(tmp_path / "out.mp4") as recording:
        for picture in pictures():
            recording.add(picture)
    times = [frame.timestamp for frame in Video(tmp_path / "out.mp4")]
    np.testing.assert_allclose(np.diff(times), 0.1, atol=0.01)


def test_a_clock_that_is_set_back(package: str, tmp_path: Path) -> None:
    with Recording(tmp_path / "out.mp4") as recording:
        for picture, seconds in zip(pictures(), (5.0, 6.0, 2.0), strict=True):
            recording.add(picture, seconds)
    assert len(list(Video(tmp_path / "out.mp4"))) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_few_pictures_of_odd_and_other_sizes(package: str, count: int, tmp_path: Path) -> None:
    with Recording(tmp_path / "out.mp4") as recording:
        for size in [(63, 47), (100, 20)][:count]:
            recording.add(Image.new("L", size, 200))
    frames = list(Video(tmp_path / "out.mp4"))
    assert [frame.image.size for frame in frames] == [(64, 48)] * count


def test_nothing_added_nothing_written(package: str, tmp_path: Path) -> None:
    with Recording(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("out.gif", "no name of a video"), ("out", "no name of a video"), ("no/out.mp4", "not a folder"), ("", "is ''")],
)
def test_names_that_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Recording(f"{tmp_path}/{name}" if name else name)


def test_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("av", "cv2"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("xsam_edge.runtime.stream.video.installed", lambda name: False)
    with pytest.raises(BackendError, match="pip install av"):
        Recording(tmp_path / "out.mp4")
