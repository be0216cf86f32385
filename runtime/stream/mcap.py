"""Messages of an MCAP file, also of one that was never finished: a recorder that lost its power, a full disk.

A file with an index is read by it, in the order of time. Without, or where the index cannot be read, records are
taken as they come, up to where they can no longer be understood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.ros_messages.store import INSTALL

# Name -> type and number of messages. A type is "" where messages are not in the form of ROS 2.
Topics = dict[str, tuple[str, int]]
Messages = Generator[tuple[int, bytes], None, None]  # nanoseconds at which each was recorded, and its content

_FORM = "cdr"


class DamageError(Exception):
    """Where a file cannot be read any further. Its text goes behind the file's name."""


def load_mcap() -> tuple[Any, Any]:
    """The modules of the package mcap that read.

    Raises:
        BackendError: it is not installed, or cannot be loaded.
    """
    try:
        return import_module("mcap.reader"), import_module("mcap.stream_reader")
    except ImportError as error:
        raise BackendError(f"bags need the package mcap, which cannot be loaded ({error}); run {INSTALL}") from error


class McapFile:
    """One file. ``topics`` is what could be read of it; iterating messages raises DamageError where that ends.

    Raises:
        BackendError: the package mcap is not installed.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader, self._stream_reader = load_mcap()
        self.topics: Topics = {}
        with path.open("rb") as file:
            summary = self._summary(file)
        self._indexed = summary is not None
        if summary is None:
            self._scan_topics()
            return
        counts = summary.statistics.channel_message_counts
        for channel in summary.channels.values():
            self._count(channel, summary.schemas, counts.get(channel.id, 0))

    def messages(self, topic: str) -> Messages:
        """The messages of a topic.

        Raises:
            DamageError: there are no more that can be read, and there were.
        """
        with self.path.open("rb") as file:
            try:
                if self._indexed:
                    reader = self._reader.SeekingReader(file, validate_crcs=True)
                    for _, _, message in reader.iter_messages(topics=[topic]):
                        yield message.log_time, message.data
                    return
                channels: dict[int, Any] = {}
                for record in self._records(file):
                    if _is(record, "Channel"):
                        channels[record.id] = record
                    elif _is(record, "Message") and channels[record.channel_id].topic == topic:
                        yield record.log_time, record.data
            except Exception as error:  # libraries raise anything on damaged data
                raise _damage(error) from error

    def _summary(self, file: BinaryIO) -> Any:
        """The index, if there is one by which messages are found."""
        try:
            summary = self._reader.SeekingReader(file, record_size_limit=self._size).get_summary()
            usable = summary is not None and summary.statistics and summary.channels and summary.chunk_indexes
            return summary if usable else None
        except Exception:
            return None

    def _records(self, file: BinaryIO) -> Iterator[Any]:
        yield from self._stream_reader.StreamReader(file, validate_crcs=True, record_size_limit=self._size).records

    @property
    def _size(self) -> int:
        """How long a record can be: a length that damage made is not asked of memory."""
        return self.path.stat().st_size

    def _scan_topics(self) -> None:
        channels: dict[int, Any] = {}
        schemas: dict[int, Any] = {}
        counts: Counter[int] = Counter()
        with self.path.open("rb") as file:
            try:
                for record in self._records(file):
                    if _is(record, "Schema"):
                        schemas[record.id] = record
                    elif _is(record, "Channel"):
                        channels[record.id] = record
                    elif _is(record, "Message"):
                        counts[record.channel_id] += 1
            except Exception as error:
                if not channels:
                    raise _damage(error) from error
        for channel in channels.values():
            self._count(channel, schemas, counts[channel.id])

    def _count(self, channel: Any, schemas: dict[int, Any], count: int) -> None:
        schema = schemas.get(channel.schema_id)
        kind = schema.name if schema is not None and channel.message_encoding == _FORM else ""
        known, before = self.topics.get(channel.topic, (kind, 0))  # a topic of several publishers has several channels
        self.topics[channel.topic] = known, before + count


def _is(record: Any, name: str) -> bool:
    """Whether a record is of the class ``name`` of mcap.records."""
    return type(record).__name__ == name


def _damage(error: Exception) -> DamageError:
    text = " ".join(str(error).split()) or "it ends in the middle of a record"
    return DamageError(f"{type(error).__name__}: {text}" if str(error) else text)
