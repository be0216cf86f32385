from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.sinks.bag import TOPICS, BagSink, check_bag
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.bag import Bag, Recorded

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

HEADER = Header(1_764_342_671, 123_456_789, "camera")
BAG_NS = 1_764_342_671_200_000_001
Read = list[tuple[str, int, Any]]


def result(size: tuple[int, int] = (40, 60), noise: bool = False) -> Result:
    mask = np.zeros(size, bool)
    mask[10:20, 5:30] = True
    if noise:
        mask = np.random.default_rng(0).random(size) > 0.5
    return Result("refer", (Segment.from_mask(mask, 0.5, "the cup"),), size, caption="Here it is.")


def answer(*results: Result, index: int = 0, **facts: Any) -> FrameResult:
    facts = {"stamp_ns": HEADER.stamp_ns, "origin": Recorded(HEADER, BAG_NS + index), **facts}
    return FrameResult(index, facts.pop("timestamp", 0.0), None, 1.0, 0, {}, results, **facts)


def read(path: Path) -> Read:
    """All messages in the order of time, by the package rosbags."""
    from rosbags.highlevel import AnyReader

    with AnyReader([path]) as reader:
        return [
            (connection.topic, time, reader.deserialize(content, connection.msgtype))
            for connection, time, content in reader.messages()
        ]


def test_an_answer(tmp_path: Path) -> None:
    sink = BagSink(tmp_path / "out.mcap")
    seen = answer(result(), replace(result(), task="gcgseg", caption="a cup on a table"))
    assert sink.write(seen) == ()
    sink.write(Late(1, 0.0, None, 1.0, 0, 5.0, "answer"))
    sink.close()
    sink.close()
    messages = read(tmp_path / "out.mcap")
    assert [topic for topic, _, _ in messages] == [*TOPICS]
    assert {time for _, time, _ in messages} == {BAG_NS}
    by_topic = {topic: message for topic, _, message in messages}
    text, names, boxes, mask = by_topic.values()
    for message in (names, boxes, boxes.detections[0], mask):
        assert Header.of(message.header) == HEADER
    assert [(entry.class_id, entry.class_name) for entry in names.class_map] == [(1, "the cup"), (2, "the cup")]
    assert [(entry.id, entry.results[0].hypothesis.class_id) for entry in boxes.detections] == [
        ("1", "the cup"),
        ("2", "the cup"),
    ]
    box = boxes.detections[0].bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (17.5, 15.0, 25.0, 10.0)
    assert text.data == "a cup on a table"
    assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", 40, 60, 60)
    ids = mask.data.reshape(40, 60)
    assert (ids[10:20, 5:30] == 1).all() and ids.sum() == 250


def test_what_a_chat_answers_is_words_alone(tmp_path: Path) -> None:
    sink = BagSink(tmp_path / "out.mcap")
    sink.write(answer(Result("chat", (), (40, 60), caption="Two."), Result("chat", (), (40, 60), caption="None.")))
    sink.close()
    messages = read(tmp_path / "out.mcap")
    assert [(topic, time, message.data) for topic, time, message in messages] == [
        ("/xsam/text", BAG_NS, "Two."),
        ("/xsam/text", BAG_NS, "None."),
    ]


def test_mcap_ros2_support_reads_it(tmp_path: Path) -> None:
    reading = pytest.importorskip("mcap_ros2.reader")
    sink = BagSink(tmp_path / "out.mcap")
    sink.write(answer(result()))
    sink.close()
    messages = {item.channel.topic: item for item in reading.read_ros2_messages(str(tmp_path / "out.mcap"))}
    assert messages.keys() == TOPICS.keys() - {"/xsam/text"}
    detections = messages["/xsam/detections"]
    assert detections.log_time_ns == detections.publish_time_ns == BAG_NS
    assert detections.ros_msg.detections[0].bbox.size_x == 25.0
    assert detections.ros_msg.header.stamp.nanosec == HEADER.nanosec


@pytest.mark.parametrize(
    ("facts", "stamp"),
    [({"stamp_ns": 5_000_000_001}, 5_000_000_001), ({"timestamp": 2.5, "stamp_ns": None}, 2_500_000_000)],
)
def test_frames_of_no_bag(facts: dict[str, Any], stamp: int, tmp_path: Path) -> None:
    sink = BagSink(tmp_path / "out.mcap")
    sink.write(answer(result(), origin=None, **facts))
    sink.close()
    assert {(time, Header.of(message.header)) for _, time, message in read(tmp_path / "out.mcap")} == {
        (stamp, Header.at(stamp))
    }


def test_frames_without_a_time_have_that_of_writing(tmp_path: Path) -> None:
    sink = BagSink(tmp_path / "out.mcap")
    before = time.time_ns()
    sink.write(answer(result(), origin=None, stamp_ns=None, timestamp=None))
    sink.close()
    assert before <= read(tmp_path / "out.mcap")[0][1] <= time.time_ns()


def test_more_than_255_segments_take_16_bits(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[0, 0] = True
    segment = Segment.from_mask(mask, 0.5, "dot")
    sink = BagSink(tmp_path / "out.mcap")
    sink.write(answer(Result("instances", (segment,) * 300, (40, 60))))
    sink.close()
    image = read(tmp_path / "out.mcap")[-1][2]
    assert (image.encoding, image.step, image.data[:2].tolist()) == ("16UC1", 120, [1, 0])


def test_nothing_is_made_before_an_answer_and_an_old_file_stays_until_then(tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    BagSink(path).close()
    assert not path.exists()
    path.write_text("old")
    sink = BagSink(path)
    sink.close()
    assert path.read_text() == "old"
    sink = BagSink(path)
    sink.write(answer(result()))
    sink.close()
    assert len(read(path)) == 3


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    check_bag(tmp_path / "out.mcap", False)
    (tmp_path / "there.mcap").touch()
    (tmp_path / "folder.mcap").mkdir()
    check_bag(tmp_path / "there.mcap", True)
    for name, said in {
        "out.db3": "end it in .mcap",
        "there.mcap": "already exists; choose another name",
        "folder.mcap": "is a folder, and one file",
        "none/out.mcap": "none is not a folder; make it first",
    }.items():
        with pytest.raises(InputError, match=said):
            check_bag(tmp_path / name, False)


def test_a_process_that_is_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    """Without an index or an end; as a source the frames come back."""
    path = tmp_path / "out.mcap"
    if (child := os.fork()) == 0:
        sink = BagSink(path)
        for index in range(4):
            sink.write(answer(result((600, 800)), index=index))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    frames = iter(Bag(path))
    assert [next(frames).origin for _ in range(4)] == [Recorded(HEADER, BAG_NS + index) for index in range(4)]
    with pytest.raises(InputError, match="4 images of /xsam/mask_image could be"):
        next(frames)


@pytest.mark.parametrize("where", ["add_message", "serialize", "save"])
def test_an_interrupted_frame_is_taken_back(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.mcap"
    sink = BagSink(path)
    for index in range(2):
        sink.write(answer(result((600, 800)), index=index))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "add_message":
        monkeypatch.setattr(sink._writer, "add_message", interrupt)
    elif where == "serialize":
        monkeypatch.setattr("xsam_edge.runtime.sinks.bag.mask_image", interrupt)
    else:
        monkeypatch.setattr(sink._file, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sink.write(answer(result((600, 800)), index=2))
    monkeypatch.undo()
    sink.close()
    masks = [time for topic, time, _ in read(path) if topic == "/xsam/mask_image"]
    assert masks == [BAG_NS, BAG_NS + 1]


def test_a_full_disk_leaves_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    limit = 400_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = BagSink(path)
    frames = (answer(result((600, 800), noise=True), index=index) for index in range(100))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"out\.mcap") as caught:
            deque(map(sink.write, frames), 0)
        sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    messages = read(path)  # which refuses a file without an end
    count = len(messages) // 3
    assert 3 <= count < 10 and len(messages) == 3 * count
    assert path.stat().st_size <= limit
    assert [time for topic, time, _ in messages if topic == "/xsam/mask_image"] == [BAG_NS + n for n in range(count)]
