"""Answers as an MCAP file that Foxglove and ROS 2 open: masks, names, boxes, texts, with the stamps of the images."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.ros_messages import fill
from xsam_edge.runtime.ros_messages.found import found_in, mask_image
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.store import INSTALL, store, types
from xsam_edge.runtime.sinks.base import check_file, segments, words
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.bag import Recorded
from xsam_edge.runtime.stream.tracked import TrackedFrame

ENDING = ".mcap"
# Topic -> type.
TOPICS = {
    "/xsam/text": "std_msgs/msg/String",
    "/xsam/label_info": "vision_msgs/msg/LabelInfo",
    "/xsam/detections": "vision_msgs/msg/Detection2DArray",
    "/xsam/mask_image": "sensor_msgs/msg/Image",
}
_CHUNK = 1 << 17  # bytes before compression, so that what a power cut costs is a few frames of small pictures


def is_bag(path: Path) -> bool:
    """Whether a name of an output is that of a bag: ``.mcap``, or ``.db3``, which :func:`check_bag` refuses."""
    return path.suffix.lower() in (ENDING, ".db3")


def check_bag(path: Path, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        InputError: another ending than ``.mcap``, no folder to write into, or a file that is there already.
    """
    if path.suffix.lower() != ENDING:
        raise InputError(
            f"{path} is no name of a bag to write; end it in {ENDING}, and convert it where another is needed"
        )
    check_file(path, overwrite, "another name")


class BagSink:
    """Writes one ``.mcap`` file, which is made with the first answer; one that is there already is replaced then.

    Of every answered frame there is a mask image, the names of its ids, and its detections, each with the header of the
    image that was answered and recorded at its time; and a text for each caption and each answer of a chat, which has
    no masks. Frames that come from no bag get their ``stamp_ns`` or else their ``timestamp`` as both, or else the time
    of writing. Late frames are left out.

    After every frame what is complete is in the file, in chunks that are readable by themselves. Where no more can be
    written, a chunk that was begun is taken back and the file is ended without an index.

    Raises:
        InputError: as :func:`check_bag`, except that a file that is there is replaced.
        BackendError: a package of the extra ``bags`` is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = arguments.path("the bag to write", path, "a file's name")
        check_bag(self.path, overwrite=True)
        self._types, self._store = types(), store()
        try:
            self._mcap = import_module("mcap.writer")
        except ImportError as error:
            raise BackendError(
                f"{self.path} needs the package mcap, which cannot be loaded ({error}); run {INSTALL}"
            ) from error
        self._file: _ChunkFile | None = None
        self._writer: Any = None
        self._channels: dict[str, int] = {}
        self._closed = False

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Add a frame. Raises OSError where there is no room for it."""
        if seen.late:
            return ()
        if self._writer is None:
            self._open()
        header, bag_ns = _times(seen)
        messages = [("/xsam/text", fill.text_message(self._types, text)) for text in words(seen.results)]
        if segments(seen.results):
            found = found_in(seen.results, tracked=isinstance(seen, TrackedFrame))
            pixels = mask_image(found, seen.result.image_size)
            messages += [
                ("/xsam/label_info", fill.label_info_message(self._types, header, found)),
                ("/xsam/detections", fill.detections_message(self._types, header, found)),
                ("/xsam/mask_image", fill.image_message(self._types, header, pixels)),  # the largest, so a chunk's last
            ]
        contents = [(topic, bytes(self._store.serialize_cdr(message, TOPICS[topic]))) for topic, message in messages]
        with self._whole() as file:
            for topic, content in contents:
                self._writer.add_message(self._channels[topic], bag_ns, content, bag_ns)
            file.save()
        return ()

    def close(self) -> None:
        """Write what is left, and the index."""
        if self._closed or self._writer is None:
            return
        self._closed = True
        with self._whole() as file:
            self._writer.finish()
            file.save()
            file.close()

    def _open(self) -> None:
        self.path.unlink(missing_ok=True)
        self._file = _ChunkFile(self.path)
        self._writer = self._mcap.Writer(self._file, chunk_size=_CHUNK)
        self._writer.start(profile="ros2", library="xsam-edge")
        for topic, kind in TOPICS.items():
            definition, _ = self._store.generate_msgdef(kind, ros_version=2)
            schema = self._writer.register_schema(kind, "ros2msg", definition.encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        self._file.head = self._file.tell()

    @contextmanager
    def _whole(self) -> Iterator[_ChunkFile]:
        """The file; where an error, or Ctrl-C, leaves something half done, that is taken back and the file ended."""
        assert self._file is not None
        try:
            yield self._file
        except BaseException:
            self._closed = True
            self._file.give_up(_end())
            raise


class _ChunkFile:
    """A file that grows by whole chunks: what is written comes into it by ``save``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._waiting = bytearray()
        self._size = 0
        self.head = 0  # bytes before the first frame

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def tell(self) -> int:
        return self._size + len(self._waiting)

    def save(self) -> None:
        """Raises OSError, with the file's name, where it does not fit."""
        done = 0
        try:
            while done < len(self._waiting):
                done += self._file.write(bytes(self._waiting[done:]))
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error
        self._size, self._waiting = self._size + done, bytearray()

    def give_up(self, end: bytes) -> None:
        """Close it behind what was saved, with ``end`` where there is room for it; without a frame it is removed."""
        with suppress(OSError):
            self._file.truncate(self._size)
            self._file.seek(self._size)
            if self._file.write(end) < len(end):
                self._file.truncate(self._size)
        self.close()
        if self._size <= self.head:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()


def _end() -> bytes:
    """The end of a file that has no index."""
    records, stream = import_module("mcap.records"), import_module("mcap.data_stream")
    builder = stream.RecordBuilder()
    records.DataEnd(0).write(builder)
    records.Footer(0, 0, 0).write(builder)
    magic: bytes = import_module("mcap.writer").MCAP0_MAGIC
    return bytes(builder.end()) + magic


def _times(seen: FrameResult) -> tuple[Header, int]:
    """The header of a frame, and when it was recorded, in nanoseconds."""
    if isinstance(seen.origin, Recorded):
        return seen.origin.header, seen.origin.bag_ns
    stamp = seen.stamp_ns
    if stamp is None:
        stamp = time.time_ns() if seen.timestamp is None else max(0, round(1e9 * seen.timestamp))
    return Header.at(stamp), stamp
