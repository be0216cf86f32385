from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.runtime.label.labels import BECOMES, DATA, random_record, write_pictures
from xsam_edge.runtime.label import assemble as module
from xsam_edge.runtime.label.assemble import Summary, assemble
from xsam_edge.runtime.label.journal import Journal
from xsam_edge.runtime.label.pictures import Pictures
from xsam_edge.runtime.progress import Step

NAMES = [f"{number}.png" for number in range(6)]
FORMATS = ("coco", "panoptic", "yolo")


def fill(folder: Path, order: Sequence[int]) -> tuple[Pictures, Path]:
    write_pictures(folder / "in", NAMES)
    out = folder / "out"
    out.mkdir()
    pictures = Pictures(folder / "in", NAMES)
    with Journal(out, {}, pictures) as journal:
        for number in order:
            journal.add(random_record(NAMES[number], number) if number != 4 else {"picture": NAMES[4], "error": "bad"})
    return pictures, out


def write(pictures: Pictures, out: Path, formats: Sequence[str] = FORMATS, steps: list[Step] | None = None) -> Summary:
    with Journal(out, {}, pictures) as journal:
        return assemble(out, journal, pictures, DATA, BECOMES, formats, (steps if steps is not None else []).append)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): os.fsencode(os.readlink(path).rpartition("/")[2])
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and path.name != "journal.jsonl"
    }


def test_files_are_the_same_in_whatever_order_records_came(tmp_path: Path) -> None:
    found = []
    for name, order in (("a", range(6)), ("b", (5, 0, 3, 4, 1, 2))):
        pictures, out = fill(tmp_path / name, order)
        steps: list[Step] = []
        summary = write(pictures, out, steps=steps)
        assert (summary.pictures, summary.damaged, steps[-1].done, steps[-1].total) == (5, 1, 5, 5)
        found.append(content(out))
    assert found[0] == found[1]
    read = json.loads(found[0]["instances.json"])
    assert [item["id"] for item in read["images"]] == [1, 2, 3, 4, 6]
    assert sum(summary.segments.values()) == len(read["annotations"])
    assert json.loads(found[0]["damaged.jsonl"]) == {"picture": "4.png", "error": "bad"}
    assert {"contact-sheet.jpg", "review.html", "labels/0.txt", "images/0.png", "panoptic/000000000001.png"} <= set(
        found[0]
    )


def test_what_was_written_before_is_replaced(tmp_path: Path) -> None:
    pictures, out = fill(tmp_path, range(5))
    write(pictures, out)
    with Journal(out, {}, pictures) as journal:
        for number in (4, 5):
            journal.add(random_record(NAMES[number], number))
    summary = write(pictures, out)
    assert summary.damaged == 0 and "damaged.jsonl" not in summary.files
    assert not (out / "damaged.jsonl").exists()
    assert len(list((out / "panoptic").iterdir())) == 6
    assert sorted(path.name for path in out.iterdir()) == sorted([*summary.files, "journal.jsonl"])


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, out = fill(tmp_path, range(5))
    write(pictures, out)
    before = content(out)
    with Journal(out, {}, pictures) as journal:
        journal.add(random_record(NAMES[5], 5))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_sheet", full)
        with pytest.raises(OSError, match="out"):
            write(pictures, out)
    assert content(out) == before
    assert write(pictures, out).pictures == 5
