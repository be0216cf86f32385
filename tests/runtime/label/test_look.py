from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from tests.runtime.label.labels import picture, random_record, write_pictures
from xsam_edge.runtime.label.look import jpeg, spread, thumbnail, write_sheet


@pytest.mark.parametrize(("count", "most"), [(0, 24), (1, 24), (24, 24), (25, 24), (1000, 24), (10, 3)])
def test_places_are_spread_evenly(count: int, most: int) -> None:
    places = sorted(spread(count, most))
    assert len(places) == min(count, most)
    assert all(0 <= place < count for place in places)
    gaps = [after - before for before, after in pairwise(places)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_thumbnails(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png"], (20, 30))
    small = thumbnail(picture(random_record("a.png", 2), folder=tmp_path), 15)
    assert small is not None and small.size == (15, 10)
    assert Image.open(io.BytesIO(jpeg(small))).size == (15, 10)
    assert thumbnail(picture(random_record("gone.png", 2), folder=tmp_path), 15) is None
    assert thumbnail(picture(random_record("a.png", 2, (40, 40)), folder=tmp_path), 15) is None  # changed meanwhile


def test_the_sheet(tmp_path: Path) -> None:
    names = [f"{number} ü\n.png" for number in range(7)]
    write_pictures(tmp_path, names[:6])
    write_sheet(tmp_path / "sheet.jpg", [picture(random_record(name, 0), folder=tmp_path) for name in names])
    assert Image.open(tmp_path / "sheet.jpg").size == (6 * 328 + 8, 346 + 8)
    write_sheet(tmp_path / "none.jpg", [])
