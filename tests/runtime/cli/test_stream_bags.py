"""``xsam-segment --source drive.mcap -o out.mcap``."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.stream import bags
from xsam_edge.calibration.shapes.dataset import ShapesData
from xsam_edge.runtime.cli.segment import main
from xsam_edge.runtime.ros_messages import fill
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.store import store, types

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

ASKED = ["--refer", "the largest shape", "--threshold", "official"]
COUNT = 3


def pictures(topic: str = "/camera/image") -> list[bags.Message]:
    messages = []
    for number, picture in enumerate(ShapesData(size=120).pictures(("refer",), COUNT)):
        pixels = np.asarray(picture.image().convert("RGB"))
        message = fill.image_message(types(), bags.header(number), pixels)
        time = bags.header(number).stamp_ns + bags.LATER
        messages.append((topic, bags.IMAGE, time, bytes(store().serialize_cdr(message, bags.IMAGE))))
    return messages


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bags.mcap(tmp_path_factory.mktemp("bags") / "drive.mcap", [*pictures(), *bags.strings()])


def read(path: Path) -> list[tuple[str, int, Any]]:
    from rosbags.highlevel import AnyReader

    with AnyReader([path]) as reader:
        return [
            (connection.topic, time, reader.deserialize(content, connection.msgtype))
            for connection, time, content in reader.messages()
        ]


def test_a_bag_is_answered_into_a_bag(
    shapes_bundle: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mcap"
    arguments = [str(shapes_bundle), "--source", str(drive), "--topic", "/camera/image", *ASKED, "-o", str(out)]
    assert main([*arguments, "--json"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["frame"] for entry in entries] == [f"drive-{number:06d}" for number in range(COUNT)]
    assert {entry["overlay"] for entry in entries} == {None}
    messages = read(out)
    masks = [(time, message) for topic, time, message in messages if topic == "/xsam/mask_image"]
    assert [time for time, _ in masks] == [bags.header(number).stamp_ns + bags.LATER for number in range(COUNT)]
    assert [Header.of(message.header) for _, message in masks] == [bags.header(number) for number in range(COUNT)]
    for entry, (_, mask) in zip(entries, masks, strict=True):
        assert int((mask.data == 1).sum()) == entry["segments"][0]["area"] > 0
    names = [message for topic, _, message in messages if topic == "/xsam/label_info"]
    assert [[kind.class_name for kind in message.class_map] for message in names] == [["the largest shape"]] * COUNT

    assert main(arguments) == 2
    assert "already exists; choose another name, or pass --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--max-frames", "1"]) == 0
    assert len(read(out)) == 3
    assert "1 of 3  drive-000000" in capsys.readouterr().out


def test_several_sinks_at_once(
    shapes_bundle: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    arguments = [str(shapes_bundle), "--source", str(drive), *ASKED, "--max-frames", "2"]
    outputs = ["-o", str(tmp_path / "out.mcap"), "--save-video", str(tmp_path / "out.mp4")]
    assert main([*arguments, *outputs]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"out.mcap", "out.mp4"}
    outputs = ["-o", str(tmp_path / "pictures"), "--save-bag", str(tmp_path / "second.mcap")]
    assert main([*arguments, *outputs]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    assert len(read(tmp_path / "second.mcap")) == 6
    capsys.readouterr()


def test_answers_of_a_chat_are_text(
    shapes_bundle: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mcap"
    arguments = [str(shapes_bundle), "--source", str(drive), "--chat", "Is there a star?", "--max-frames", "1"]
    assert main([*arguments, "-o", str(out), "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert [(topic, message.data) for topic, _, message in read(out)] == [("/xsam/text", entry["caption"])]
    assert main([*arguments, "-o", str(tmp_path / "folder")]) == 2
    assert "--output does not apply to chat" in capsys.readouterr().err


def test_a_full_disk(shapes_bundle: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mcap"
    arguments = [str(shapes_bundle), "--source", str(drive), *ASKED, "-o", str(out)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        assert main([*arguments, "--quiet"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err == f"xsam-segment: error: {out}: File too large\n"
    assert not out.exists(), "of a file without a frame nothing is left"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "/up"], "has no topic /up; it has /camera/image (sensor_msgs/msg/Image, 3 messages)"),
        (["-o", "out.db3"], "out.db3 is no name of a bag to write; end it in .mcap"),
        (["-o", "none/out.mcap"], "none is not a folder; make it first"),
        (["-o", "DRIVE", "--overwrite"], "is read and would be written; choose another name"),
        (["-o", "a.mcap", "--save-bag", "a.mcap"], "a.mcap was given as --output and --save-bag; leave one out"),
        (["--save-bag", "DRIVE"], "is read and would be written; choose another name"),
        (["--reconnect", "2"], "is a bag, which is read once"),
        (["--every-frame"], "--every-frame is of what is live"),
    ],
)
def test_what_cannot_be(
    arguments: list[str], said: str, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    arguments = [str(drive) if text == "DRIVE" else text for text in arguments]
    assert main(["no-bundle", "--source", str(drive), *ASKED, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_topics_and_bags_are_of_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").touch()
    for arguments, said in {
        ("--source", str(tmp_path), "--topic", "/a"): "is no bag, and has no topics; leave the topic out",
        (str(tmp_path / "a.png"), "--topic", "/a"): "--topic applies to --source",
        (str(tmp_path / "a.png"), "-o", "out.mcap"): "out.mcap is a bag, which is written of --source",
        (str(tmp_path / "a.png"), "--refer", "a", "--rerun"): "--rerun applies to --source",
        ("--source", str(tmp_path), "--rerun", "x"): "--rerun is 'x'; expected a file that ends in .rrd",
    }.items():
        assert main(["no-bundle", *arguments, "--refer", "a"]) == 2
        assert said in capsys.readouterr().err


def test_a_bag_that_was_cut_off_is_answered_up_to_there(
    shapes_bundle: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, out = tmp_path / "cut.mcap", tmp_path / "out.mcap"
    whole = bags.mcap(tmp_path / "whole.mcap", pictures(), chunk_size=1000)
    cut.write_bytes(whole.read_bytes()[: 8 * whole.stat().st_size // 10])
    assert main([str(shapes_bundle), "--source", str(cut), *ASKED, "-o", str(out), "--quiet"]) == 2
    output = capsys.readouterr()
    assert [line.partition("  ")[0] for line in output.out.splitlines()] == ["1 of 2", "2 of 2"]
    assert output.err.count("\n") == 1 and "cut.mcap cannot be read to its end" in output.err
    assert len(read(out)) == 6
