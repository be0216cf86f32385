from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.categories import Category, numbered
from xsam_edge.runtime.label.mapping import mapped, read_map

CATEGORIES = numbered(["car", "person", "van"], ["road"])


def read(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "map"
    path.write_text(text)
    return read_map(path)


def test_lines_and_json(tmp_path: Path) -> None:
    wanted = {"car": "vehicle", "van": "vehicle", "road": "ground"}
    for text in (
        "# mine\ncar, van -> vehicle\nroad->ground\n",
        '{"vehicle": ["car", "van"], "road": "ground"}',
        '{"car": "vehicle", "van": "vehicle", "ground": ["road"]}',
    ):
        assert read(tmp_path, text) == wanted


def test_names_become_one() -> None:
    kept, becomes = mapped(CATEGORIES, {"car": "vehicle", "van": "vehicle"})
    vehicle = Category("vehicle", True, 1)
    assert kept == (vehicle, CATEGORIES[1], CATEGORIES[3])
    assert becomes == {"car": vehicle, "van": vehicle, "person": CATEGORIES[1], "road": CATEGORIES[3]}
    assert mapped(CATEGORIES, {})[0] == CATEGORIES
    assert mapped(CATEGORIES, {"van": "car"})[0] == (CATEGORIES[0], CATEGORIES[1], CATEGORIES[3])


def test_wrong_names_are_named() -> None:
    with pytest.raises(InputError, match="'cra', which is none of the categories; did you mean 'car'"):
        mapped(CATEGORIES, {"cra": "x"})
    with pytest.raises(InputError, match="of things and of stuff"):
        mapped(CATEGORIES, {"car": "x", "road": "x"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("car vehicle", "is no mapping"),
        ("car ->", "is no mapping"),
        ("car,, van -> x", "is empty"),
        ("car -> x\ncar -> y", "becomes both 'x' and 'y'"),
        ("{", "no JSON object"),
        ('{"x": 3}', "no JSON object"),
        ("", "holds no line"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        read(tmp_path, text)
