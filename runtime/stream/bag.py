"""The images of a bag of ROS 2, without ROS: a file of its storage (``.mcap``, ``.db3``) or a folder of these."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.images import Pixels, Range, to_array
from xsam_edge.runtime.ros_messages.store import store
from xsam_edge.runtime.stream.address import is_described
from xsam_edge.runtime.stream.frame import Pace, SourceFrame
from xsam_edge.runtime.stream.mcap import DamageError, McapFile, Messages, Topics

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_SHOWN = 12  # topics in a message


@dataclass(frozen=True)
class Recorded:
    """The ``origin`` of a frame of a bag: its header, and when it was recorded, in nanoseconds, which differ."""

    header: Header
    bag_ns: int


class _Storage(Protocol):
    topics: Topics

    def messages(self, topic: str) -> Messages: ...


class Bag:
    """The images of one topic of a bag, in the order in which they were recorded; see :class:`Folder` for ``rate``.

    Without ``topic`` it is the only one with images. A frame's ``stamp_ns`` is its header's, or where none was set the
    time of recording; its ``origin`` is a :class:`Recorded`. ``depth_range`` is that of ``to_array``. ``count`` is how
    many images there are.

    A message that cannot be decoded is a damaged frame. Iterating raises InputError, behind the frames that could be
    read, where the bag is damaged or was never finished.

    Raises:
        InputError: no bag, none that can be read, no such topic, or no or several topics with images.
        BackendError: a package of the extra ``bags`` is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        topic: str | None = None,
        rate: float | None = None,
        depth_range: Range | None = None,
    ) -> None:
        self.path = arguments.path("the bag", path, "a bag of ROS 2")
        if not os.path.exists(self.path):
            raise InputError(f"{self.path} does not exist; a bag of ROS 2 was expected")
        self._types = store()
        self._depth_range = depth_range
        self._storages = _storages(self.path)
        self.topics = _together(self._storages)
        self.topic = self._chosen(None if topic is None else arguments.text("topic", topic))
        kind, self.count = self.topics[self.topic]
        self._kind = kind
        self.live = rate is not None
        self._pace = Pace(rate)

    def __iter__(self) -> Iterator[SourceFrame]:
        number = 0
        try:
            for storage in self._storages:
                if self.topic not in storage.topics:
                    continue
                with closing(storage.messages(self.topic)) as messages:
                    for bag_ns, content in messages:
                        if not self._pace.wait(number):
                            return
                        yield self._frame(number, bag_ns, content)
                        number += 1
        except DamageError as error:
            raise InputError(
                f"{self.path} cannot be read to its end ({error}); {number} image{'s'[: number != 1]} of {self.topic} "
                "could be, so go on with these, or copy the bag again"
            ) from error

    def stop(self) -> None:
        """See :class:`FrameSource`."""
        self._pace.stop()

    def _frame(self, number: int, bag_ns: int, content: bytes) -> SourceFrame:
        try:
            message = self._types.deserialize_cdr(content, self._kind)
            header = Header.of(message.header)
        except Exception as error:  # whatever the bytes lead to
            damage = f"message {number} of {self.topic} is no {self._kind} ({_text(error)}); mend what recorded it"
            return self._made(number, bag_ns, Header(), ImageError(damage))
        try:
            return self._made(number, bag_ns, header, to_array(message, depth_range=self._depth_range))
        except ImageError as error:
            return self._made(number, bag_ns, header, error)
        except InputError as error:  # which all messages of the topic would lead to
            raise InputError(f"{self.topic} of {self.path}: {error}") from error

    def _made(self, number: int, bag_ns: int, header: Header, image: Pixels | ImageError) -> SourceFrame:
        stamp = header.stamp_ns if header.stamp_ns > 0 else bag_ns
        due, name = self._pace.due(number), f"{self.path.stem}-{number:06d}"
        return SourceFrame(image, arrived=due, name=name, stamp_ns=stamp, origin=Recorded(header, bag_ns))

    def _chosen(self, topic: str | None) -> str:
        pictures = {name: facts for name, facts in self.topics.items() if facts[0] in IMAGES}
        if topic is None:
            filled = [name for name, (_, count) in pictures.items() if count]
            if len(filled) == 1:
                return filled[0]
            if filled:
                raise InputError(
                    f"{self.path} has several topics with images: {_listed(pictures)}; choose one with --topic"
                )
            raise InputError(f"{self.path} has no topic with images; it has {_listed(self.topics)}")
        if topic not in self.topics:
            raise InputError(f"{self.path} has no topic {topic}; it has {_listed(pictures or self.topics)}")
        kind, count = self.topics[topic]
        if kind not in IMAGES:
            raise InputError(
                f"{topic} of {self.path} is of the type {kind or 'unknown'}; {' or '.join(IMAGES)} was expected, as of "
                f"{_listed(pictures)}"
            )
        if not count:
            raise InputError(f"{topic} of {self.path} has no message; it has {_listed(pictures)}")
        return topic


class _Rosbags:
    """A bag as the package rosbags reads it: a folder by its description, or a file of SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: Topics = {}
        try:
            with self._open() as reader:
                for connection in reader.connections:
                    known, count = self.topics.get(connection.topic, (connection.msgtype, 0))
                    self.topics[connection.topic] = known, count + connection.msgcount
        except Exception as error:  # libraries raise anything on damaged data
            raise DamageError(_text(error)) from error

    def _open(self) -> Any:
        library: Any = import_module("rosbags.rosbag2")
        return library.Reader(self._path)

    def messages(self, topic: str) -> Messages:
        try:
            with self._open() as reader:
                wanted = [connection for connection in reader.connections if connection.topic == topic]
                for _, bag_ns, content in reader.messages(wanted):
                    yield bag_ns, content
        except Exception as error:
            raise DamageError(_text(error)) from error


def _storages(path: Path) -> list[_Storage]:
    """What a bag is read from: all of it at once by its description, or its files one after the other."""
    try:
        if not path.is_dir():
            return [_storage(path)]
        try:
            return [_Rosbags(path)]
        except DamageError:  # such as of a recorder that was killed: its description is written last
            files = sorted(path.glob("*.mcap"), key=_by_number)
            if not files:
                files = [] if is_described(path) else sorted(path.glob("*.db3"), key=_by_number)
            if not files:
                raise
            return [_storage(file) for file in files]
    except DamageError as error:
        raise InputError(f"{path} cannot be read ({error}); copy the bag again, or run `ros2 bag reindex`") from error


def _storage(path: Path) -> _Storage:
    with path.open("rb") as file:
        is_sqlite = file.read(15) == b"SQLite format 3"
    return _Rosbags(path) if is_sqlite else McapFile(path)


def _by_number(path: Path) -> tuple[int, str]:
    """Files of one recording are numbered at the end of their names."""
    number = re.search(r"([0-9]+)$", path.stem)
    return int(number[1]) if number else -1, path.name


def _together(storages: list[_Storage]) -> Topics:
    topics: Topics = {}
    for storage in storages:
        for name, (kind, count) in storage.topics.items():
            known, before = topics.get(name, (kind, 0))
            topics[name] = known, before + count
    return topics


def _listed(topics: Mapping[str, tuple[str, int]]) -> str:
    shown = [f"{name} ({kind or 'unknown'}, {count} messages)" for name, (kind, count) in sorted(topics.items())]
    more = [f"{len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    return ", ".join([*shown[:_SHOWN], *more]) or "none"


def _text(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
