from __future__ import annotations

import os
from pathlib import Path

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.pictures import Pictures, find_pictures


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(*sources: Path | str, output: Path = Path("/nowhere/labels")) -> list[str]:
    return list(find_pictures([str(source) for source in sources], output).names)


def test_folders_are_searched_in_order_and_hidden_ones_left_out(tmp_path: Path) -> None:
    names = ("b.jpg", "a/z.png", "a.b/c.JPG", "a/1 ü.jpg", "a/-x.jpg", "a/new\nline.png", ".h/x.jpg", ".x.jpg", "t.txt")
    tree(tmp_path, *names)
    assert found(tmp_path) == ["b.jpg", "a/-x.jpg", "a/1 ü.jpg", "a/new\nline.png", "a/z.png", "a.b/c.JPG"]


def test_names_begin_where_all_sources_are(tmp_path: Path) -> None:
    tree(tmp_path, "x/a.jpg", "y/a.jpg", "y/b.raw")
    pictures = find_pictures([str(tmp_path / "x"), str(tmp_path / "y/b.raw"), str(tmp_path / "y")], Path("/nowhere"))
    assert pictures.root == tmp_path
    assert list(pictures.names) == ["x/a.jpg", "y/a.jpg", "y/b.raw"]  # a file is taken whatever its ending, and once
    assert pictures.path("y/b.raw") == tmp_path / "y/b.raw"
    assert [pictures.place(name) for name in ("x/a.jpg", "y/b.raw", "x", "y/c.jpg")] == [0, 2, None, None]


def test_loops_of_links_end_and_no_folder_is_read_twice(tmp_path: Path) -> None:
    tree(tmp_path, "real/a.jpg")
    (tmp_path / "real/loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    assert found(tmp_path) == ["b.jpg", "real/a.jpg"]


def test_what_is_no_file_is_left_out_and_a_link_to_nothing_is_not(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert found(tmp_path) == ["a.png", "gone.png", "self.png"]


def test_lists(tmp_path: Path) -> None:
    tree(tmp_path, "x/a.jpg", "x/b.jpg")
    lists = {"crlf.txt": b"\xef\xbb\xbfx/b.jpg\r\n\r\nx/a.jpg", "nul.txt": b"x/a.jpg\0x/new\nline.jpg\0"}
    for name, content in lists.items():
        (tmp_path / name).write_bytes(content)
    assert found(f"@{tmp_path}/crlf.txt") == ["a.jpg", "b.jpg"]
    assert found(f"@{tmp_path}/nul.txt") == ["a.jpg", "new\nline.jpg"]  # one that is gone is found out when it is read
    for content, fault in ((b"", "holds no path"), ("x".encode("utf-16"), "UTF-16")):
        (tmp_path / "bad.txt").write_bytes(content)
        with pytest.raises(InputError, match=fault):
            found(f"@{tmp_path}/bad.txt")
    with pytest.raises(InputError, match="no such file"):
        found("@/nowhere.txt")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    tree(tmp_path, name)
    assert found(tmp_path) == [name]


def test_what_cannot_be_labelled_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "in/t.txt")
    with pytest.raises(InputError, match="no picture is in"):
        found(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        found(tmp_path / "gone")
    tree(tmp_path, "in/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    for output in (tmp_path / "in", tmp_path / "in/labels", tmp_path / "link/deep/labels"):
        with pytest.raises(InputError, match="is inside of"):
            found(tmp_path / "in", output=output)
    assert found(tmp_path / "in", output=tmp_path / "in-labels") == ["a.jpg"]


def test_places_of_many_names() -> None:
    names = sorted((f"{folder}/{number}.jpg" for folder in "ab" for number in range(100)), key=lambda n: n.split("/"))
    pictures = Pictures(Path("/"), names)
    assert [pictures.place(name) for name in names] == list(range(200))
