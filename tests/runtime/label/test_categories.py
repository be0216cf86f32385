from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.categories import LISTS, Category, everything, nearest, numbered, read_lines


def test_the_lists_that_come_with_the_package() -> None:
    coco, lvis = map(everything, LISTS)
    assert [sum(item.is_thing for item in coco), len(coco)] == [80, 133]
    assert coco[0] == Category("person", True, 1) and coco[79] == Category("toothbrush", True, 90)
    assert coco[80] == Category("banner", False, 92) and coco[-1] == Category("rug-merged", False, 200)
    assert len(lvis) == 1203 and all(item.is_thing for item in lvis)
    assert [item.id for item in lvis] == list(range(1, 1204))
    assert (lvis[0].name, lvis[-1].name) == ("aerosol can", "zucchini")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbf# mine\nstuff road\ncar, red\n\nthing stuff\n")
    assert everything(str(path)) == (
        Category("car, red", True, 2),
        Category("stuff", True, 3),
        Category("road", False, 1),
    )
    for content, fault in (
        ("a\na\n", "is there twice"),
        ("wall\nWall-other\n", "read the same"),
        ("1 thing a\n1 thing b\n", "gives a number twice"),
        ("# none\n", "holds no line"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=fault):
            everything(str(path))


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    for content in ("Straße".encode("latin-1"), "road".encode("utf-16"), "road".encode("utf-16-le")):
        path.write_bytes(content)
        with pytest.raises(InputError, match="UTF-8"):
            read_lines(path)


def test_what_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; --everything takes coco or lvis"):
        everything(str(tmp_path))
    with pytest.raises(InputError, match="is no list of names and no file"):
        everything("cocoa")


def test_numbers_and_near_names() -> None:
    assert numbered(["a"], ["b"]) == (Category("a", True, 1), Category("b", False, 2))
    with pytest.raises(InputError, match="empty"):
        numbered([" "])
    with pytest.raises(InputError, match="twice"):
        numbered(["a"], ["a"])
    assert nearest("vehicel", ["vehicle", "road"]) == "did you mean 'vehicle'?"
    assert nearest("x", ["vehicle"]) == "check its spelling"
