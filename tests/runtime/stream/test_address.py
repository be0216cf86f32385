import os
import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.stream.address import Kind, locate, without_secrets


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "by-id").symlink_to("/dev/null")
    (tmp_path / "rtsp: ! ").mkdir()
    kinds = {"": Kind.FOLDER, "film.mp4": Kind.FILE, "fifo": Kind.FIFO, "by-id": Kind.DEVICE, "rtsp: ! ": Kind.FOLDER}
    for name, kind in kinds.items():
        found = locate(str(tmp_path / name))
        assert (found.kind, found.text, found.name) == (kind, str(tmp_path / name), str(tmp_path / name))


@pytest.mark.parametrize(
    ("address", "kind", "text", "name"),
    [
        (2, Kind.NUMBER, "2", "camera 2"),
        ("0", Kind.NUMBER, "0", "camera 0"),
        ("-", Kind.STDIN, "-", "standard input"),
        ("RTSP://cup/1", Kind.URL, "RTSP://cup/1", "RTSP://cup/1"),
        ("udp://@239.0.0.1:1234", Kind.URL, "udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        (
            "nvarguscamerasrc ! appsink",
            Kind.PIPELINE,
            "nvarguscamerasrc ! appsink",
            "the pipeline nvarguscamerasrc ! ...",
        ),
        ("x user-pw=se ! appsink", Kind.PIPELINE, "x user-pw=se ! appsink", "the pipeline x ! ..."),
    ],
)
def test_other_addresses(
    address: int | str, kind: Kind, text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = locate(address)
    assert (found.kind, found.text, found.name) == (kind, text, name)


def test_a_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    assert locate("0").kind is Kind.FOLDER
    assert locate(0).kind is Kind.NUMBER


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        ("rtsp://admin:secret@cup/live", "rtsp://***@cup/live"),
        ("rtsp://admin:se/c?r#e@t@cup/live", "rtsp://***@cup/live"),
        ("http://cup/video.cgi?user=admin&pwd=secret", "http://cup/video.cgi?***"),
        ("http://cup/video.cgi?to=a@secret", "http://***@secret"),
        ("rtsp:/admin:secret@cup", "***@cup"),
        ("me@film.mp4", "me@film.mp4"),
    ],
)
def test_secrets_are_not_shown(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


@pytest.mark.parametrize("address", ["nosuch", "", "é" * 5000, "a\0b", "://", "1.5", "²", "rtsp://"])
def test_what_is_nothing(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"does not exist; give a folder .* a FIFO, a URL or a GStreamer pipeline"):
        locate(address)


def test_what_a_mistyped_url_holds_is_not_shown() -> None:
    with pytest.raises(InputError) as error:
        locate("rtsp:/admin:secret@cup")
    assert "secret" not in str(error.value)


def test_numbers_below_0() -> None:
    with pytest.raises(InputError, match="number is -1; expected a whole number from 0"):
        locate(-1)


def test_paths_that_hold_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("talk")
        with pytest.raises(InputError, match="talk is a socket; give a folder"):
            locate("talk")
    (tmp_path / "gone").symlink_to("nosuch")
    with pytest.raises(InputError, match="gone does not exist"):
        locate("gone")
    monkeypatch.setattr(os, "stat", lambda *_, **__: SimpleNamespace(st_mode=stat.S_IFBLK))
    with pytest.raises(InputError, match="/dev/sda is a block device, which is a disk; give a folder"):
        locate("/dev/sda")


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"/dev/null is closed to this user; .*`sudo usermod -aG \w+ \$USER`"):
        locate("/dev/null")
    with pytest.raises(InputError, match=r"fifo is closed to this user; .*so change its permissions"):
        locate(str(tmp_path / "fifo"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(InputError, match="closed/film may not be looked at by this user"):
        locate("closed/film")


def test_bags(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for name in ("drive.mcap", "drive.DB3", "plain/drive_0.db3", "plain/drive_0.db3-wal"):
        (tmp_path / name).touch()
    (tmp_path / "renamed").write_bytes(b"\x89MCAP0\r\n")
    for name in ("drive.mcap", "drive.DB3", "plain", "renamed"):
        assert locate(tmp_path / name).kind is Kind.BAG
    (tmp_path / "described").mkdir()
    (tmp_path / "described" / "metadata.yaml").write_text("rosbag2_bagfile_information:\n  version: 9\n")
    assert locate(tmp_path / "described").kind is Kind.BAG
    (tmp_path / "described" / "metadata.yaml").write_text("of: something else\n")
    assert locate(tmp_path / "described").kind is Kind.FOLDER
    assert locate(tmp_path).kind is Kind.FOLDER
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(InputError, match=r"old.bag is a bag of ROS 1; convert it: `rosbags-convert --src .*old.bag"):
        locate(tmp_path / "old.bag")
