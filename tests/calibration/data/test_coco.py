import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.annotated import (
    CAT,
    DOG,
    SIZE,
    WITHOUT_OUTLINE,
    image_record,
    write,
    write_image,
    write_instances,
    write_panoptic,
)
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import Categories, Picture, Regions
from xsam_edge.runtime.errors import InputError


def pictures(root: Path, *tasks: str, split: str | None = None) -> list[Picture]:
    data = open_folder(root, split)
    found = list(data.pictures(tasks or data.tasks))
    assert len(found) == data.count(tasks or data.tasks)
    return found


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_instances(tmp_path: Path) -> None:
    write_instances(tmp_path)
    data = open_folder(tmp_path)
    assert data.tasks == ("instances", "regions")
    first, second = data.pictures(["instances"])
    assert first.name == "val2017/000000000001.jpg"
    assert first.image().size == SIZE[::-1]
    (ask,) = first.asks
    assert isinstance(ask, Categories)
    assert (ask.task, ask.names, ask.things) == ("instances", ("cat", "dog"), 2)
    assert [(item.label, item.is_crowd) for item in ask.segments] == [(0, False), (1, False), (1, True)]
    assert np.array_equal(ask.segments[0].mask(), CAT)
    assert np.array_equal(ask.segments[1].mask(), DOG)
    assert np.array_equal(ask.segments[2].mask(), ~(CAT | DOG))
    assert isinstance(second.asks[0], Categories) and second.asks[0].segments == (), "an empty picture is asked too"
    assert data.count(["regions"]) == 1
    assert data.describe()["sources"][0]["split"] == "val2017"  # type: ignore[index]
    assert data.notes == () and data.describe()["sources"][0]["without_outline"] == 0  # type: ignore[index]


def test_annotations_without_an_outline_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    kinds = [{"image_id": 1 + index % 2, "category_id": 17, **kind} for index, kind in enumerate(WITHOUT_OUTLINE)]
    edit(path, lambda data: data["annotations"].extend(kinds))
    data = open_folder(tmp_path)
    first, second = [picture.asks[0] for picture in data.pictures(["instances"])]
    assert isinstance(first, Categories) and isinstance(second, Categories)
    assert [segment.label for segment in first.segments] == [0, 1, 1] and second.segments == ()
    (note,) = data.notes
    assert note.startswith(f"{path}: 9 annotations have no outline (missing, empty, ") and note.endswith(
        "were left out"
    )
    assert data.describe()["sources"][0]["without_outline"] == 9  # type: ignore[index]
    edit(path, lambda data: data.update(annotations=data["annotations"][:4]))
    assert "1 annotation has no outline" in open_folder(tmp_path).notes[0]


def test_panoptic(tmp_path: Path) -> None:
    write_panoptic(tmp_path)
    assert open_folder(tmp_path).tasks == ("panoptic", "semantic", "regions")
    first, second = pictures(tmp_path, "panoptic", "semantic")
    panoptic, semantic = first.asks
    assert isinstance(panoptic, Categories) and isinstance(semantic, Categories)
    assert (panoptic.task, semantic.task) == ("panoptic", "semantic")
    assert (panoptic.names, panoptic.things) == (("cat", "sky-other-merged"), 1), "things first"
    sky, cat = panoptic.segments
    assert (sky.label, cat.label) == (1, 0)
    assert np.array_equal(cat.mask(), CAT)
    expected = ~CAT
    expected[-1] = False
    assert np.array_equal(sky.mask(), expected), "the last row is void"
    crowd = second.asks[0]
    assert isinstance(crowd, Categories) and crowd.segments[0].is_crowd and crowd.segments[0].mask().all()


def test_regions_are_made_from_panoptic_things(tmp_path: Path) -> None:
    write_panoptic(tmp_path)
    (picture,) = pictures(tmp_path, "regions")
    single, similar = picture.asks
    assert isinstance(single, Regions) and isinstance(similar, Regions)
    assert np.array_equal(single.segments[0].mask(), CAT)
    assert len(similar.prompts) == 1


def test_a_picture_of_both_files_is_looked_at_once(tmp_path: Path) -> None:
    write_instances(tmp_path, images=3)
    write_panoptic(tmp_path)
    assert open_folder(tmp_path).tasks == ("panoptic", "semantic", "instances", "regions")
    found = pictures(tmp_path)
    assert [[ask.task for ask in picture.asks] for picture in found] == [
        ["panoptic", "semantic", "instances", "regions", "regions", "regions"],
        ["panoptic", "semantic", "instances"],
        ["instances"],
    ]
    assert [picture.name for picture in open_folder(tmp_path).pictures(["instances"], 2)] == [
        "val2017/000000000001.jpg",
        "val2017/000000000002.jpg",
    ]


@pytest.mark.parametrize("images", ["val2017", "images/val2017", "images", ".", "annotations"])
def test_where_images_may_lie(images: str, tmp_path: Path) -> None:
    write_instances(tmp_path, folder=images)
    assert pictures(tmp_path, "instances")[0].image().size == SIZE[::-1]


@pytest.mark.parametrize("maps", ["panoptic_val2017", "val2017"])
def test_where_maps_may_lie(maps: str, tmp_path: Path) -> None:
    write_panoptic(tmp_path, maps=maps)
    assert len(pictures(tmp_path, "panoptic")) == 2


def test_splits(tmp_path: Path) -> None:
    write_instances(tmp_path, "train2017", images=1, folder="train2017")
    assert len(pictures(tmp_path, "instances")) == 1, "the only one"
    write_instances(tmp_path, "val2017", images=2)
    assert len(pictures(tmp_path, "instances")) == 2
    assert len(pictures(tmp_path, "instances", split="train")) == 1
    assert len(pictures(tmp_path, "instances", split="train2017")) == 1
    with pytest.raises(InputError, match="no split 'test'; it holds train2017, val2017"):
        open_folder(tmp_path, "test")
    write_instances(tmp_path, "val2014", images=1, folder="val2014")
    with pytest.raises(InputError, match=r"train2017, val2014, val2017; say which with --split"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("images"), "has no 'images'; expected a list"),
        (lambda data: data.pop("categories"), "has no 'categories'"),
        (lambda data: data.update(categories=[]), r"categories is \[\]; expected a list that is not empty"),
        (lambda data: data.update(images=[]), r"images is \[\]; expected a list that is not empty"),
        (lambda data: data["images"][0].pop("height"), r"images\[0\] has no 'height'; expected a whole number"),
        (lambda data: data["images"][0].update(height="12"), r"images\[0\]\.height is '12'; expected a whole number"),
        (lambda data: data["images"][0].update(width=0), r"images\[0\]\.width is 0; expected a whole number above 0"),
        (
            lambda data: data["images"][0].update(file_name="../1.jpg"),
            r"images\[0\]\.file_name is '../1.jpg'; exp",
        ),
        (
            lambda data: data["images"][0].update(file_name="/etc/passwd"),
            "is '/etc/passwd'; expected the name of a",
        ),
        (lambda data: data["images"].__setitem__(0, 3), r"images\[0\] is 3; expected an object"),
        (
            lambda data: data["images"].append({**data["images"][0], "file_name": "other.jpg"}),
            r"images\[\d\] has the id \d+ of .*images\[0\], and is another",
        ),
        (lambda data: data["annotations"][0].update(image_id=9), "image_id 9 is not among the file's images"),
        (lambda data: data["annotations"][0].update(category_id=9), "category_id 9 is not among the file's categories"),
        (
            lambda data: data["annotations"][0].update(segmentation="x"),
            r"annotations\[0\]\.segmentation: a polygon",
        ),
        (lambda data: data["annotations"][0].update(iscrowd=2), "iscrowd is 2; expected one of 0, 1"),
        (lambda data: data["categories"][0].update(name=3), r"categories\[0\]\.name is 3; expected text"),
    ],
)
def test_damaged_files_are_named(change: Any, message: str, tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    edit(path, change)
    with pytest.raises(InputError, match=message) as error:
        open_folder(tmp_path)
    assert str(path) in str(error.value)


def test_an_image_may_stand_twice(tmp_path: Path) -> None:
    before = list(open_folder(write_instances(tmp_path).parents[1]).pictures(("instances",)))
    edit(tmp_path / "annotations" / "instances_val2017.json", lambda data: data["images"].append(data["images"][0]))
    after = list(open_folder(tmp_path).pictures(("instances",)))
    assert [(item.name, len(item.asks[0].segments)) for item in after] == [
        (item.name, len(item.asks[0].segments)) for item in before
    ]


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_no_json(content: bytes, tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"instances_val2017.json"):
        open_folder(tmp_path)


def test_missing_images_name_where_they_were_looked_for(tmp_path: Path) -> None:
    write_instances(tmp_path)
    shutil.rmtree(tmp_path / "val2017")
    with pytest.raises(InputError, match=r"its images, such as 000000000001.jpg, were not found; .*images/val2017"):
        open_folder(tmp_path)


def test_missing_maps_mention_the_archive(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path)
    shutil.rmtree(tmp_path / "annotations" / "panoptic_val2017")
    path.with_suffix(".zip").touch()
    with pytest.raises(InputError, match=r"its PNG files \(unpack panoptic_val2017.zip\)"):
        open_folder(tmp_path)


def test_one_missing_image_is_left_to_the_run(tmp_path: Path) -> None:
    write_instances(tmp_path)
    (tmp_path / "val2017" / "000000000002.jpg").unlink()
    with pytest.raises(OSError, match="does not exist"):
        pictures(tmp_path, "instances")[1].image()


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    write_instances(tmp_path)
    write_image(tmp_path / "val2017" / image_record(1)["file_name"], (5, 6))
    with pytest.raises(InputError, match=r"000000000001.jpg is 6 x 5 pixels, its annotations are for 16 x 12"):
        pictures(tmp_path, "instances")[0].image()


def test_maps_must_fit_their_annotation(tmp_path: Path) -> None:
    write_panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_val2017" / "000000000001.png"

    def mask() -> np.ndarray:
        ask = pictures(tmp_path, "panoptic")[0].asks[0]
        assert isinstance(ask, Categories)
        return ask.segments[0].mask()

    Image.new("RGB", SIZE[::-1], (9, 0, 0)).save(path)
    with pytest.raises(InputError, match="segment id 9, which its annotation does not list"):
        mask()
    Image.new("RGB", (5, 5)).save(path)
    with pytest.raises(InputError, match="5 x 5 pixels"):
        mask()
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"panoptic map .*000000000001.png"):
        mask()


def test_sizes_of_two_files_must_agree(tmp_path: Path) -> None:
    write_panoptic(tmp_path)
    path = write_instances(tmp_path)
    edit(path, lambda data: data["images"][1].update(height=13))
    with pytest.raises(InputError, match="in one annotation file"):
        open_folder(tmp_path)


def test_masks_are_made_when_asked_for(tmp_path: Path) -> None:
    """Opening reads no image and no map."""
    write_instances(tmp_path)
    write_panoptic(tmp_path)
    for path in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.jpg")]:
        path.write_bytes(b"")
    assert open_folder(tmp_path).count(["panoptic", "instances"]) == 2


def test_other_json_files_are_no_data(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / "captions_val2017.json", {})
    write(tmp_path / "instancesx.json", {})
    with pytest.raises(InputError, match="holds no data set that is known"):
        open_folder(tmp_path)
