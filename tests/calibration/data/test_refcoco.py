import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotated import CAT, DOG, WITHOUT_OUTLINE, write, write_panoptic, write_refs
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.runtime.errors import InputError


def phrases(root: Path, split: str | None = None) -> list[Phrase]:
    found = [ask for picture in open_folder(root, split).pictures(["refer"]) for ask in picture.asks]
    assert all(isinstance(ask, Phrase) and ask.task == "refer" for ask in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["refs(unc).json", "refs(umd).json", "refs(google).json", "refs.json"])
def test_refcoco(name: str, tmp_path: Path) -> None:
    write_refs(tmp_path, name)
    data = open_folder(tmp_path)
    assert data.tasks == ("refer",), "its instances.json is no COCO file"
    assert next(iter(data.pictures(["refer"]))).name == "images/000000000001.jpg"
    found = phrases(tmp_path)
    assert [phrase.text for phrase in found] == ["the cat", "left one"], "once whatever its capitals"
    assert all(phrase.mask and np.array_equal(phrase.mask(), CAT) and not phrase.several for phrase in found)
    (dog,) = phrases(tmp_path, "testA")
    assert dog.mask and np.array_equal(dog.mask(), DOG)


def test_the_partition_of_the_literature_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "refs(google).json", [])
    write_refs(tmp_path)
    assert len(phrases(tmp_path)) == 2


def test_grefcoco_has_several_and_absent_objects(tmp_path: Path) -> None:
    path = write_refs(tmp_path, "grefs(unc).json")
    records = [
        {"ann_id": [11, 12], "image_id": 1, "split": "val", "sentences": [{"sent": "both"}]},
        {"ann_id": [-1], "image_id": 2, "split": "val", "no_target": True, "sentences": [{"sent": "a bird"}]},
    ]
    path.write_text(json.dumps(records))
    both, bird = phrases(tmp_path)
    assert both.several and both.mask and np.array_equal(both.mask(), CAT | DOG)
    assert bird.mask is None


@pytest.mark.parametrize("outline", WITHOUT_OUTLINE)
def test_phrases_about_annotations_without_an_outline_are_left_out(outline: dict[str, Any], tmp_path: Path) -> None:
    """Of several objects too: the rest of a truth would judge wrongly."""
    path = write_refs(tmp_path)
    records = [
        {"ann_id": 11, "image_id": 1, "split": "val", "sentences": [{"sent": "the cat"}, {"sent": "left one"}]},
        {"ann_id": [11, 12], "image_id": 1, "split": "val", "sentences": [{"sent": "both"}]},
        {"ann_id": 12, "image_id": 1, "split": "val", "sentences": [{"sent": "the dog"}]},
    ]
    write(path, records)
    instances = json.loads((tmp_path / "instances.json").read_text())
    cat, dog, crowd = instances["annotations"]
    del dog["segmentation"]
    write(tmp_path / "instances.json", {**instances, "annotations": [cat, dog | outline, crowd]})
    data = open_folder(tmp_path)
    assert [ask.text for picture in data.pictures(["refer"]) for ask in picture.asks] == ["the cat", "left one"]  # type: ignore[union-attr]
    assert data.describe()["sources"][0]["without_outline"] == 1  # type: ignore[index]
    assert data.notes[0].startswith(f"{path}: 1 annotation has no outline")
    write(path, records[1:])
    with pytest.raises(InputError, match=r"split val whose annotation has an outline \(1 have none\)"):
        open_folder(tmp_path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_read_as_json_is(protocol: int, tmp_path: Path) -> None:
    path = write_refs(tmp_path)
    records = json.loads(path.read_text())
    expected = [(phrase.text, phrase.mask()) for phrase in phrases(tmp_path) if phrase.mask]
    path.unlink()
    for record in records:
        record.update(ann_id=np.int64(record["ann_id"]), image_id=np.int32(record["image_id"]))
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(records, protocol))
    found = [(phrase.text, phrase.mask()) for phrase in phrases(tmp_path) if phrase.mask]
    assert len(found) == 2 and all(
        text == other and np.array_equal(mask, mask_of_json)
        for (text, mask), (other, mask_of_json) in zip(found, expected, strict=True)
    )
    path.touch()
    assert len(phrases(tmp_path)) == 2, "an empty file, as a conversion leaves that failed, hides nothing"
    write(path, records := json.loads(json.dumps(records[:1], default=int)))
    assert records and len(phrases(tmp_path)) == 2, "JSON is taken first"


def test_pickles_of_anything_else_are_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    write_refs(tmp_path).unlink()
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([{"sentences": Trap()}]))
    with pytest.raises(InputError, match=r"refs\(unc\).p names .*; only plain values are read from a pickle"):
        open_folder(tmp_path)
    assert not (tmp_path / "sprung").exists()
    path.write_bytes(pickle.dumps([{"split": "val"}]))
    with pytest.raises(InputError, match=r"refs\(unc\).p: \[0\] has no 'image_id'"):
        open_folder(tmp_path)


def test_other_formats_may_lie_beside(tmp_path: Path) -> None:
    write_refs(tmp_path)
    write_panoptic(tmp_path)
    assert open_folder(tmp_path).tasks == ("refer", "panoptic", "semantic", "regions")
    assert open_folder(tmp_path, "testA").tasks == ("refer",)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"ann_id": 99}, "ann_id 99 is not among the annotations"),
        ({"ann_id": None}, r"\[0\]\.ann_id is null; expected a whole number or text or a list"),
        ({"image_id": 99}, "image_id 99 is not among the images"),
        ({"sentences": "cat"}, "sentences is 'cat'; expected a list"),
        ({"sentences": [{"tokens": []}]}, r"sentences\[0\]\.raw is missing, and so is sent; expected text"),
        ({"split": 3}, "split is 3; expected text"),
        ({"sentences": []}, "has no sentence for the split val"),
    ],
)
def test_damaged_records_are_named(record: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_refs(tmp_path)
    records = json.loads(path.read_text())[:1]
    path.write_text(json.dumps([{**records[0], **record}]))
    with pytest.raises(InputError, match=message):
        phrases(tmp_path)


def test_instances_must_be_there(tmp_path: Path) -> None:
    write_refs(tmp_path)
    (tmp_path / "instances.json").unlink()
    with pytest.raises(InputError, match=r"instances.json does not exist"):
        open_folder(tmp_path)


def test_an_unknown_split_lists_those_that_are_there(tmp_path: Path) -> None:
    write_refs(tmp_path)
    with pytest.raises(InputError, match="no split 'test'; it holds testA, val"):
        open_folder(tmp_path, "test")
