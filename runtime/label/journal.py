"""What was answered so far: a line of JSON for each picture, which nothing that ends a process can damage.

The first line says what was asked, and of which bundle. A line is written whole or, where a process or a disk ends
half-way, is cut off when the file is opened again. A picture that has two lines was labelled again: the last counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.pictures import Pictures

JOURNAL = "journal.jsonl"
_SYNC = 2.0  # seconds of work that a loss of power may cost
_SHOWN = 60  # characters of an option in a message

Record = Mapping[str, Any]


class Journal:
    """The journal of a folder, locked while it is open."""

    def __init__(self, folder: Path, header: Mapping[str, Any], pictures: Pictures) -> None:
        """Open the journal of a folder, or begin one.

        Args:
            folder: an existing one.
            header: what answers follow from, as values of JSON: the bundle and options, by their names.
            pictures: those that are labelled.

        Raises:
            InputError: the folder holds something else, labels that another header led to, or a journal that another
                process writes.
            OSError: a file that cannot be written.
        """
        self.path = folder / JOURNAL
        self._left_over: set[str] = set()
        self._pictures = pictures
        self._offsets = array("q", bytes(8 * len(pictures)))  # 0, where the header is, stands for none
        self._failed = bytearray(len(pictures))
        if not self.path.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no {JOURNAL}; choose another folder with --output")
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._lock(folder)
            self._end = self._begin(header)
            self._scan()
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def _lock(self, folder: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process labels into {folder}; wait for it, or choose another folder") from None
        except OSError:
            pass  # a file system without locks

    def _begin(self, header: Mapping[str, Any]) -> int:
        """Write or check the first line; returns where it ends."""
        wanted = json.loads(json.dumps(header))
        self._file.seek(0)
        with open(self.path, "rb") as reader:
            first = reader.readline()
        if not first.endswith(b"\n"):
            self._file.truncate(0)
            self._end = 0
            self._write(_line(wanted))
            return self._end
        try:
            found = json.loads(first)
            assert isinstance(found, dict)
        except (ValueError, AssertionError):
            raise InputError(f"{self.path} is no journal of labels; choose another folder with --output") from None
        for name in dict.fromkeys([*wanted, *found]):
            if found.get(name) != wanted.get(name):
                raise InputError(
                    f"{self.path.parent} holds labels for which {name} was {_shown(found.get(name))}, and now it is "
                    f"{_shown(wanted.get(name))}; ask the same again, or choose another folder with --output"
                )
        return len(first)

    def _scan(self) -> None:
        """Find the record of each picture, and cut off what was not written whole."""
        with open(self.path, "rb") as reader:
            reader.seek(self._end)
            for line in reader:
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    place = self._pictures.place(record["picture"])
                except (ValueError, KeyError, TypeError):
                    pass  # blocks that a loss of power left empty: the picture is labelled again
                else:
                    if place is None:
                        self._left_over.add(record["picture"])
                    else:
                        self._offsets[place], self._failed[place] = self._end, "error" in record
                self._end += len(line)
        if os.fstat(self._file.fileno()).st_size > self._end:
            self._file.truncate(self._end)

    def has(self, place: int) -> bool:
        """Whether a picture was labelled; one that could not be counts as not."""
        return self._offsets[place] > 0 and not self._failed[place]

    def failed(self, place: int) -> bool:
        """Whether the last try to label a picture failed."""
        return bool(self._failed[place])

    @property
    def done(self) -> int:
        """Pictures that were labelled."""
        return sum(offset > 0 for offset in self._offsets) - sum(self._failed)

    @property
    def damaged(self) -> int:
        """Pictures that could not be labelled."""
        return sum(self._failed)

    @property
    def left_over(self) -> int:
        """Pictures that have a record and are none of those that are labelled now."""
        return len(self._left_over)

    def add(self, record: Record) -> None:
        """Write the record of a picture.

        Raises:
            OSError: no room; the file is as it was before.
        """
        place = self._pictures.place(record["picture"])
        assert place is not None, "only pictures that were found are labelled"
        start = self._end
        self._write(_line(record))
        self._offsets[place], self._failed[place] = start, "error" in record
        if time.monotonic() - self._synced > _SYNC:
            self.sync()

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The place and the record of every picture that has one, in the order of the pictures."""
        with open(self.path, "rb") as reader:
            for place, offset in enumerate(self._offsets):
                if offset > 0:
                    reader.seek(offset)
                    yield place, json.loads(reader.readline())

    def sync(self) -> None:
        """Bring what was written onto the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """End writing."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._file.fileno(), left) :]
        except BaseException as error:
            self._file.truncate(self._end)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise
        self._end += len(line)


def holds_no_record(folder: Path) -> bool:
    """Whether a folder's journal is there without any record, or not at all."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            return not (file.readline() and file.read(1))
    except FileNotFoundError:
        return True


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
