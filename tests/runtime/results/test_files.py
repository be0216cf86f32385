import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.files import write_result
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment


def result(label: str = "the man", id_map: bool = False) -> Result:
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    labels = np.where(mask, 300, 0).astype(np.int32)
    return Result(
        "refseg",
        (Segment.from_mask(mask, 0.9, label),),
        (20, 30),
        id_map=labels if id_map else None,
        image=Image.new("RGB", (30, 20), (1, 2, 3)),
    )


def test_files(tmp_path: Path) -> None:
    files = write_result(result(id_map=True), tmp_path / "a", {"image": "a.jpg"}, overwrite=False)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "01_the-man.png", "ids.png", "overlay.png", "result.json",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "nothing is left beside"
    mask = np.asarray(Image.open(files["masks"][0]))
    np.testing.assert_array_equal(mask, 255 * result().masks[0])
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(Image.open(files["ids"])), result(id_map=True).id_map)
    assert Image.open(files["overlay"]).size == (30, 20)
    content = json.loads((tmp_path / "a" / "result.json").read_text())
    assert content["image"] == "a.jpg"
    assert content["files"] == files
    np.testing.assert_array_equal(rle.decode(**content["segments"][0]["mask"]), result().masks[0])


@pytest.mark.parametrize(
    ("label", "name"),
    [("../../etc/passwd", "01_etc-passwd.png"), ("", "01.png"), ("???", "01.png"), ("Straße 图", "01_Straße-图.png")],
)
def test_labels_become_safe_names(label: str, name: str, tmp_path: Path) -> None:
    files = write_result(result(label), tmp_path / "a", {}, overwrite=False)
    assert files["masks"] == [str(tmp_path / "a" / name)]
    assert Path(files["masks"][0]).is_file()


def test_a_long_label_fits_a_file_system(tmp_path: Path) -> None:
    write_result(result("语" * 500), tmp_path / "a", {}, overwrite=False)


def test_replacing_what_was_written(tmp_path: Path) -> None:
    write_result(result("old"), tmp_path / "a", {}, overwrite=False)
    with pytest.raises(InputError, match="holds a result already"):
        write_result(result("new"), tmp_path / "a", {}, overwrite=False)
    write_result(result("new"), tmp_path / "a", {}, overwrite=True)
    assert (tmp_path / "a" / "01_new.png").exists()
    assert not (tmp_path / "a" / "01_old.png").exists()


@pytest.mark.parametrize("theirs", ["notes.txt", "01_sub/x", "photo.png"])
def test_what_others_wrote_is_not_replaced(theirs: str, tmp_path: Path) -> None:
    write_result(result(), tmp_path / "a", {}, overwrite=False)
    (tmp_path / "a" / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / "a" / theirs).write_text("mine")
    with pytest.raises(InputError, match="was not written by xsam-segment"):
        write_result(result(), tmp_path / "a", {}, overwrite=True)
    assert (tmp_path / "a" / theirs).read_text() == "mine"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_result(result("old"), tmp_path / "a", {}, overwrite=False)

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_result(result("new"), tmp_path / "a", {}, overwrite=True)
    assert caught.value.filename == str(tmp_path / "a" / "01_new.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "01_old.png").exists(), "the old result stays"


def test_no_segment_no_picture(tmp_path: Path) -> None:
    empty = Result("refseg", (), (20, 30), answered=False, reason="no <SEG>")
    files = write_result(empty, tmp_path / "a", {}, overwrite=False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result.json"]
    assert files["overlay"] is None


def test_an_empty_folder_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_result(result(), tmp_path / "a", {}, overwrite=False)
    assert (tmp_path / "a" / "result.json").is_file()


def test_no_image_no_overlay(tmp_path: Path) -> None:
    files = write_result(replace(result(), image=None), tmp_path / "a", {}, overwrite=False)
    assert files["overlay"] is None and not (tmp_path / "a" / "overlay.png").exists()
    assert (tmp_path / "a" / "01_the-man.png").is_file()
