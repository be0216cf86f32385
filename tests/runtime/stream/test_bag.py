from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.stream import bags
from xsam_edge.runtime.errors import BackendError, ImageError, InputError
from xsam_edge.runtime.ros_messages import fill
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.store import store, types
from xsam_edge.runtime.stream.bag import Bag, Recorded
from xsam_edge.runtime.stream.sources import Folder, SourceFrame, open_source

pytest.importorskip("rosbags")
pytest.importorskip("mcap")


def check(frames: list[SourceFrame], count: int = 4, first: int = 0) -> None:
    assert len(frames) == count
    for number, frame in enumerate(frames, first):
        assert isinstance(frame.image, np.ndarray)
        np.testing.assert_array_equal(frame.image, bags.pixels(number))
        assert frame.stamp_ns == bags.START + number * bags.STEP
        assert frame.origin == Recorded(bags.header(number), bags.START + number * bags.STEP + bags.LATER)


def until_damage(path: Path) -> tuple[list[SourceFrame], str]:
    """The frames that come before an error, and what that says."""
    frames: list[SourceFrame] = []
    with pytest.raises(InputError) as caught:
        frames.extend(Bag(path))  # keeps what it was given so far
    return frames, str(caught.value)


@pytest.mark.parametrize(
    ("plugin", "compression"),
    [("MCAP", "NONE"), ("MCAP", "STORAGE"), ("MCAP", "FILE"), ("SQLITE3", "NONE"), ("SQLITE3", "MESSAGE")],
)
def test_folders(plugin: str, compression: str, tmp_path: Path) -> None:
    path = bags.folder(tmp_path / "drive", [*bags.images(), *bags.strings()], plugin, compression)
    bag = open_source(str(path))
    assert isinstance(bag, Bag)
    assert (bag.topic, bag.count, bag.live) == ("/camera/image", 4, False)
    frames = list(bag)
    check(frames)
    assert [frame.name for frame in frames][1:3] == ["drive-000001", "drive-000002"]
    check(list(bag))  # a second time


@pytest.mark.parametrize("plugin", ["MCAP", "SQLITE3"])
def test_the_file_of_a_folder_alone(plugin: str, tmp_path: Path) -> None:
    path = bags.folder(tmp_path / "drive", list(bags.images()), plugin)
    (path / "metadata.yaml").unlink()
    (file,) = path.iterdir()
    for given in (file, path):
        source = open_source(str(given))
        assert isinstance(source, Bag)
        check(list(source))
    for text in ("", "{{{:"):  # of a recorder that was killed
        (path / "metadata.yaml").write_text(text)
        check(list(open_source(str(path))))
    if plugin == "MCAP":  # known by how it begins
        check(list(open_source(str(file.rename(path / "renamed")))))


@pytest.mark.parametrize("options", [{"chunk_size": 500}, {"use_chunking": False}, {"repeat_channels": False}])
@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_files_of_another_writer(compression: str, options: dict[str, object], tmp_path: Path) -> None:
    from mcap.writer import CompressionType

    messages = [*bags.images(), *bags.strings()]
    path = bags.mcap(tmp_path / "drive.mcap", messages, compression=CompressionType[compression], **options)
    bag = Bag(path)
    assert bag.topics == {"/camera/image": (bags.IMAGE, 4), "/chatter": (bags.STRING, 4)}
    check(list(bag))


def test_files_of_mcap_ros2_support(tmp_path: Path) -> None:
    writing = pytest.importorskip("mcap_ros2.writer")
    from rosbags.typesys import Stores, get_typestore

    definition, _ = get_typestore(Stores.ROS2_HUMBLE).generate_msgdef(bags.IMAGE, ros_version=2)
    with (tmp_path / "drive.mcap").open("wb") as file:
        writer = writing.Writer(file)
        schema = writer.register_msgdef(bags.IMAGE, definition)
        for number in range(4):
            stamp = {"sec": bags.header(number).sec, "nanosec": bags.header(number).nanosec}
            image = {"header": {"stamp": stamp, "frame_id": "camera"}, "height": 6, "width": 8, "encoding": "rgb8"}
            image |= {"is_bigendian": 0, "step": 24, "data": bags.pixels(number).tobytes()}
            time = bags.header(number).stamp_ns + bags.LATER
            writer.write_message("/camera/image", schema, image, time, time)
        writer.finish()
    check(list(Bag(tmp_path / "drive.mcap")))


def test_compressed_images(tmp_path: Path) -> None:
    check(list(Bag(bags.mcap(tmp_path / "drive.mcap", list(bags.compressed())))))


def test_times_are_in_order_and_files_in_that_of_their_numbers(tmp_path: Path) -> None:
    shuffled = [message for number in (3, 1, 0, 2) for message in bags.images(count=1, first=number)]
    check(list(Bag(bags.mcap(tmp_path / "drive.mcap", shuffled, chunk_size=10))))
    (tmp_path / "split").mkdir()
    for place in range(11):
        bags.mcap(tmp_path / "split" / f"drive_{place}.mcap", list(bags.images(count=1, first=place)))
    bag = Bag(tmp_path / "split")
    assert bag.count == 11
    check(list(bag), 11)


def test_topics_are_chosen(tmp_path: Path) -> None:
    several = [*bags.images("/left", 2), *bags.images("/right", 3), *bags.strings()]
    path = bags.mcap(tmp_path / "drive.mcap", several)
    facts = r"/left \(sensor_msgs/msg/Image, 2 messages\), /right \(sensor_msgs/msg/Image, 3 messages\)"
    with pytest.raises(
        InputError, match=f"drive.mcap has several topics with images: {facts}; choose one with --topic"
    ):
        Bag(path)
    check(list(Bag(path, "/right")), 3)
    with pytest.raises(InputError, match=f"has no topic /up; it has {facts}$"):
        Bag(path, "/up")
    with pytest.raises(InputError, match=r"/chatter of .* is of the type std_msgs/msg/String; .* was expected"):
        Bag(path, "/chatter")
    with pytest.raises(InputError, match=r"has no topic with images; it has /chatter \(std_msgs/msg/String, 4 mess"):
        Bag(bags.mcap(tmp_path / "words.mcap", list(bags.strings())))
    with pytest.raises(InputError, match="has no topic with images; it has none"):
        Bag(bags.mcap(tmp_path / "empty.mcap", []))


def test_an_unset_stamp_is_that_of_recording(tmp_path: Path) -> None:
    message = fill.image_message(types(), Header(0, 0, "camera"), bags.pixels(0))
    content = bytes(store().serialize_cdr(message, bags.IMAGE))
    (frame,) = Bag(bags.mcap(tmp_path / "drive.mcap", [("/camera/image", bags.IMAGE, 5_000_000_001, content)]))
    assert (frame.stamp_ns, frame.timestamp) == (5_000_000_001, 5.000000001)
    assert frame.origin == Recorded(Header(0, 0, "camera"), 5_000_000_001)


def test_a_damaged_message_is_a_damaged_frame(tmp_path: Path) -> None:
    one, two, three, four = bags.images()
    broken = [one, (*two[:3], two[3][:50]), (*three[:3], b""), four]
    frames = list(Bag(bags.mcap(tmp_path / "drive.mcap", broken)))
    assert [isinstance(frame.image, ImageError) for frame in frames] == [False, True, True, False]
    assert "message 1 of /camera/image is no sensor_msgs/msg/Image (" in str(frames[1].image)
    check(frames[3:], 1, 3)


def test_an_encoding_that_is_not_known_ends_it(tmp_path: Path) -> None:
    (topic, kind, time, content), *_ = bags.images()
    path = bags.mcap(tmp_path / "drive.mcap", [(topic, kind, time, content.replace(b"rgb8", b"abc8"))])
    with pytest.raises(InputError, match=r"/camera/image of .*drive.mcap: the image message has the encoding 'abc8'"):
        list(Bag(path))


@pytest.mark.parametrize("chunked", [True, False])
def test_a_file_that_was_cut_off(chunked: bool, tmp_path: Path) -> None:
    whole = bags.mcap(tmp_path / "whole.mcap", list(bags.images()), chunk_size=10, use_chunking=chunked)
    check(list(Bag(whole)))
    content = whole.read_bytes()
    places = [place for number in range(4) if (place := content.find(bags.pixels(number).tobytes())) > 0]
    cut = tmp_path / "cut.mcap"
    seen = set()
    for end in itertools.chain(range(60, len(content), 97), (place + 50 for place in places)):
        cut.write_bytes(content[:end])
        frames, said = until_damage(cut)
        if "has no topic with images" in said or "cut.mcap cannot be read (" in said:
            assert not frames
            continue
        check(frames, len(frames))
        assert "cut.mcap cannot be read to its end (" in said
        assert f"); {len(frames)} image{'s'[: len(frames) != 1]} of /camera/image could be" in said
        assert said.count("\n") == 0
        seen.add(len(frames))
    assert seen >= {1, 2, 3, 4}


def test_a_chunk_that_was_altered(tmp_path: Path) -> None:
    path = bags.mcap(tmp_path / "drive.mcap", list(bags.images()), chunk_size=10)
    content = bytearray(path.read_bytes())
    from mcap.reader import make_reader

    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    content[summary.chunk_indexes[2].chunk_start_offset + 120] ^= 255
    path.write_bytes(content)
    frames, _ = until_damage(path)
    check(frames, 2)


def test_a_recorder_that_was_killed_leaves_a_folder(tmp_path: Path) -> None:
    path = bags.folder(tmp_path / "drive", list(bags.images(size=(600, 800))))
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: 7 * file.stat().st_size // 10])
    for _ in range(2):
        frames, said = until_damage(path)
        assert [frame.stamp_ns for frame in frames] == [bags.START, bags.START + bags.STEP]
        assert "drive cannot be read to its end" in said
        (path / "metadata.yaml").unlink(missing_ok=True)


def test_a_damaged_database(tmp_path: Path) -> None:
    path = bags.folder(tmp_path / "drive", list(bags.images(count=40, size=(60, 80))), "SQLITE3")
    (file,) = path.glob("*.db3")
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 60_000] = bytes(60_000)
    file.write_bytes(content)
    for given in (path, file):
        frames, said = until_damage(given)
        assert "cannot be read (" in said or "cannot be read to its end (" in said
        assert len(frames) < 40


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3"])
@pytest.mark.parametrize("content", [b"", b"x", b"\x89MCAP0\r\n", b"SQLite format 3\0" + bytes(90), bytes(5000)])
def test_what_is_no_bag(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(str(tmp_path / name))


def test_folders_that_are_none(tmp_path: Path) -> None:
    bag = bags.mcap(tmp_path / "out.mcap", list(bags.images()))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert isinstance(open_source(str(tmp_path)), Folder), "a bag among pictures was written there"
    (tmp_path / "bag").mkdir()
    shutil.move(bag, tmp_path / "bag")
    (tmp_path / "bag" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    check(list(Bag(tmp_path / "bag")))
    with pytest.raises(InputError, match="does not exist; a bag of ROS 2"):
        Bag(tmp_path / "none.mcap")


def test_played_at_a_rate_it_is_live(tmp_path: Path) -> None:
    path = bags.mcap(tmp_path / "drive.mcap", list(bags.images()))
    bag = open_source(str(path), rate=500)
    assert bag.live
    frames = list(bag)
    arrived = [frame.arrived for frame in frames]
    assert arrived[0] is not None and arrived[3] == pytest.approx(arrived[0] + 3 / 500)
    bag.stop()
    assert list(bag) == []


def test_without_the_package_mcap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bags.mcap(tmp_path / "drive.mcap", list(bags.images()))
    monkeypatch.setitem(sys.modules, "mcap.reader", None)
    with pytest.raises(BackendError, match=r"bags need the package mcap.*; run `pip install 'xsam-edge\[bags\]'`"):
        Bag(path)
