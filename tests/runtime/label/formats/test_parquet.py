from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime.label.labels import DATA, picture, random_record
from xsam_edge.runtime.label.formats import parquet
from xsam_edge.runtime.label.formats.parquet import Parquet
from xsam_edge.runtime.results import rle

tables = pytest.importorskip("pyarrow.parquet")


def test_rows_are_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 2)
    names = ["a.jpg", "ü\n.jpg", os.fsdecode(b"\xff.jpg")]
    pictures = [picture(random_record(name, number), number + 1) for number, name in enumerate(names)]
    writer = Parquet(tmp_path, DATA)
    for item in pictures:
        writer.add(item)
    writer.close()
    table = tables.read_table(tmp_path / "labels.parquet")
    assert table.schema.metadata[b"bundle"] == b"abc"
    rows = table.to_pylist()
    assert [row["picture"] for row in rows] == ["a.jpg", "ü\n.jpg", "\\xff.jpg"]
    for row, item in zip(rows, pictures, strict=True):
        for found, segment in zip(row["segments"], item.segments, strict=True):
            assert (rle.decode((row["height"], row["width"]), found["rle"]) == segment.mask()).all()
            assert (found["area"], tuple(found["box"])) == segment.bounds
            assert (found["category"], found["category_id"]) == (segment.category.name, segment.category.id)
            assert (found["is_thing"], found["score"]) == (segment.category.is_thing, segment.score)
