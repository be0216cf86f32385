from pathlib import Path

import pytest

import xsam_edge.calibration.open_data as registry
from tests.annotated import write_instances, write_reasons
from tests.scripted import Data
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.open_data import open_data
from xsam_edge.runtime.errors import InputError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    splits: list[str | None] = []

    def make(split: str | None) -> Data:
        splits.append(split)
        return Data({})

    monkeypatch.setitem(registry.NAMED, "drawn", make)
    return splits


def test_named_data_and_their_splits(asked: list[str | None]) -> None:
    open_data("drawn")
    open_data("drawn", split="val")
    open_data("drawn:1000-1299")
    open_data("drawn:val", split="val")
    assert asked == [None, "val", "1000-1299", "val"]
    with pytest.raises(InputError, match="names the split 'val' and --split 'test'"):
        open_data("drawn:val", split="test")


def test_an_empty_split_is_refused(asked: list[str | None], tmp_path: Path) -> None:
    for name, split in (("drawn", ""), ("drawn:", None), ("drawn:", "val"), (tmp_path, "")):
        with pytest.raises(InputError, match="the split is empty; name one, or leave it out"):
            open_data(name, split=split)
    assert asked == []


def test_folders(asked: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_instances(tmp_path / "drawn")
    monkeypatch.chdir(tmp_path)
    assert open_data("drawn").tasks == (), "a name comes before a folder"
    assert open_data("./drawn").tasks == open_data(Path("drawn")).tasks == ("instances", "regions")
    assert open_data(tmp_path / "drawn", split="val").count(["instances"]) == 2


def test_an_unknown_name_lists_the_known_ones(asked: list[str | None], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'shape' is neither .* known are drawn, shapes, and the path of a folder"):
        open_data("shape")
    with pytest.raises(InputError, match="is not a folder"):
        open_folder(tmp_path / "nowhere")


def test_several_formats_in_one_folder(tmp_path: Path) -> None:
    write_instances(tmp_path)
    write_reasons(tmp_path)
    data = open_folder(tmp_path)
    assert data.tasks == ("reason", "instances", "regions")
    assert data.count(data.tasks) == 4
    assert [picture.name for picture in data.pictures(["reason", "instances"], 2)] == ["val/a.jpg", "val/b.jpg"]
    assert [source["format"] for source in data.describe()["sources"]] == ["COCO instances", "ReasonSeg"]  # type: ignore[attr-defined]


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"COCO .*RefCOCO .*ReasonSeg .*GranD-f"):
        open_folder(tmp_path)
