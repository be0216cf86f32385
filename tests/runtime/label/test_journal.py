from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.journal import JOURNAL, Journal
from xsam_edge.runtime.label.pictures import Pictures

HEADER = {"bundle": "abc", "things": ["car"]}
PICTURES = Pictures(Path("/pictures"), [f"{number}.jpg" for number in range(5)])


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"picture": f"{number}.jpg", "size": [2, 3], "segments": [], **more}


def opened(folder: Path, header: dict[str, Any] | None = None, pictures: Pictures = PICTURES) -> Journal:
    return Journal(folder, HEADER if header is None else header, pictures)


def test_records_come_back_in_the_order_of_pictures(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for number in (3, 0):
            journal.add(record(number))
        journal.add({"picture": "2.jpg", "error": "damaged"})
        assert (journal.done, journal.damaged) == (2, 1)
    with opened(tmp_path) as journal:
        assert [(place, item["picture"]) for place, item in journal.records()] == [
            (0, "0.jpg"),
            (2, "2.jpg"),
            (3, "3.jpg"),
        ]
        assert [journal.has(place) for place in range(5)] == [True, False, False, True, False]
        journal.add(record(2))  # labelled again: the last record counts
        assert (journal.done, journal.damaged) == (3, 0)
    with opened(tmp_path) as journal:
        assert journal.has(2) and [item for _, item in journal.records()][1] == record(2)


def test_every_place_to_be_killed_at(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.add(record(0))
        journal.add(record(1, extra="x" * 20))
    whole = (tmp_path / JOURNAL).read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        (tmp_path / JOURNAL).write_bytes(whole[:cut])
        with opened(tmp_path) as journal:
            assert journal.done == sum(end <= cut for end in ends[1:])
            for number in range(2):
                if not journal.has(number):
                    journal.add(record(number, **({"extra": "x" * 20} if number else {})))
        assert (tmp_path / JOURNAL).read_bytes() == whole


def test_blocks_that_were_lost_are_labelled_again(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.add(record(0))
        journal.add(record(1))
    path = tmp_path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0" * (len(lines[1]) - 1) + b"\n" + lines[2])
    with opened(tmp_path) as journal:
        assert [journal.has(place) for place in range(2)] == [False, True]


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    opened(tmp_path).close()
    for header, name in (
        ({**HEADER, "bundle": "x"}, "bundle was"),
        ({"bundle": "abc"}, "things was"),
        ({**HEADER, "several": True}, "several was null, and now it is true"),
    ):
        with pytest.raises(InputError, match=name):
            opened(tmp_path, header)
    with opened(tmp_path):
        pass


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        opened(tmp_path)
    (tmp_path / JOURNAL).write_text("no json\n")
    with pytest.raises(InputError, match="no journal"):
        opened(tmp_path)
    assert (tmp_path / JOURNAL).read_text() == "no json\n"


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InputError, match="another process"):
        opened(tmp_path)


def test_pictures_that_are_no_longer_given(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for number in range(3):
            journal.add(record(number))
    with opened(tmp_path, pictures=Pictures(Path("/pictures"), ["0.jpg", "1.jpg", "new.jpg"])) as journal:
        assert (journal.done, journal.left_over) == (2, 1)
        assert not journal.has(2)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with opened(tmp_path) as journal:
        journal.add(record(0))
        room = 10

        def full(file: int, content: memoryview) -> int:
            nonlocal room
            if not room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken, room = room, 0
            return write(file, content[:taken])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match=r"journal\.jsonl"):
                journal.add(record(1))
        assert not journal.has(1)
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [HEADER, record(0)]
    with opened(tmp_path) as journal:
        journal.add(record(1))
        assert journal.done == 2
