"""The official pair by which GCG is evaluated, and the other forms of GranD-f."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotated import CAT, DOG, SIZE, polygon, write, write_captions, write_image
from tests.scripted import answer
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import Caption
from xsam_edge.calibration.evaluation.captions import CaptionMetrics
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.segment import Segment

NOTHING = np.zeros(SIZE, bool)


def encoded(mask: np.ndarray) -> dict[str, Any]:
    return dict(rle.encode(mask))


def asked(root: Path, split: str | None = None) -> list[Caption]:
    data = open_folder(root, split)
    assert data.tasks == ("captions",)
    found = [ask for picture in data.pictures(["captions"]) for ask in picture.asks]
    assert all(isinstance(ask, Caption) for ask in found)
    return found  # type: ignore[return-value]


def source(root: Path, split: str | None = None) -> dict[str, Any]:
    return open_folder(root, split).describe()["sources"][0]  # type: ignore[index]


def write_pair(
    root: Path,
    split: str = "val",
    *,
    annotations: str = "annotations/val_test",
    images: str = "images/GranDf_HA_images/val_test",
    masks: tuple[np.ndarray, ...] = (CAT, DOG),
    labels: tuple[str, ...] = ("A Cat", "a dog"),
    **fields: Any,
) -> Path:
    """One image, ``sa_7``, with a mask for each label."""
    write_image(root / images / "sa_7.jpg")
    kept = [
        {"id": number, "image_id": "sa_7", "category_id": 1, "segmentation": encoded(mask), "iscrowd": 0}
        for number, mask in enumerate(masks)
    ]
    told = [{"id": 1, "image_id": "sa_7", "caption": "A cat chases a dog.", "labels": labels}]
    listed = [{"id": "sa_7", **fields}]
    write(root / annotations / f"{split}_gcg_coco_caption_gt.json", {"images": listed, "annotations": told})
    content = {"images": listed, "annotations": kept, "categories": [{"id": 1, "name": "object"}]}
    return write(root / annotations / f"{split}_gcg_coco_mask_gt.json", content)


@pytest.mark.parametrize("annotations", [".", "annotations", "annotations/val_test", "val_test"])
@pytest.mark.parametrize("images", ["images", "GranDf_HA_images/val_test", "images/GranDf_HA_images/val_test"])
def test_the_official_pair(annotations: str, images: str, tmp_path: Path) -> None:
    path = write_pair(tmp_path, annotations=annotations, images=images)
    (ask,) = asked(tmp_path)
    assert (ask.text, ask.phrases) == ("a cat chases a dog.", ("a cat", "a dog"))
    assert np.array_equal(ask.masks[0](), CAT) and np.array_equal(ask.masks[1](), DOG)
    facts = source(tmp_path)
    assert facts["file"] == str(path) and facts["captions"].endswith("val_gcg_coco_caption_gt.json")
    assert open_folder(tmp_path).notes == ()


def test_images_may_lie_beside_the_annotations_as_glamm_has_them(tmp_path: Path) -> None:
    write_pair(tmp_path / "GranDf", images="../GranDf_HA_images/val_test")
    assert len(asked(tmp_path / "GranDf")) == 1


def test_an_answer_is_judged_by_the_pair(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (ask,) = asked(tmp_path)
    metrics = CaptionMetrics()
    metrics.add(ask, answer(Segment.from_mask(CAT, 0.9, "the cat"), Segment.from_mask(CAT, 0.9, "a dog"), size=SIZE))
    result = metrics.result()
    assert (result["n"], result["recall"], result["precision"], result["exact"]) == (1, 0.5, 0.5, 0.5)
    assert result["miou"] == 1, "of what is paired"


def test_the_pair_is_taken_before_data_to_train_on(tmp_path: Path) -> None:
    write_captions(tmp_path, "annotations/train/OpenPsgGCG_val.json")
    write_captions(tmp_path, "annotations/train/GranDf_HA_GCG_train.json")
    write_pair(tmp_path)
    write_pair(tmp_path, "test", masks=(CAT,), labels=("a cat",))
    assert source(tmp_path)["file"].endswith("val_gcg_coco_mask_gt.json")
    assert [ask.phrases for ask in asked(tmp_path, "test")] == [("a cat",)]
    assert source(tmp_path, "train")["file"].endswith("GranDf_HA_GCG_train.json")


def test_a_label_without_a_mask_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write_pair(tmp_path, masks=(CAT, NOTHING))
    (ask,) = asked(tmp_path)
    assert ask.phrases == ("a cat",)
    assert source(tmp_path)["without_outline"] == 1
    assert open_folder(tmp_path).notes[0].startswith(f"{path}: 1 annotation has no outline")


def test_an_image_whose_labels_and_masks_are_not_as_many_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    write_image(tmp_path / "images/GranDf_HA_images/val_test/sa_8.jpg")
    data = json.loads(path.read_text())
    data["images"] += [{"id": "sa_8"}, {"id": "sa_9"}]
    data["annotations"].append({"image_id": "sa_8", "segmentation": encoded(CAT)})
    write(path, data)
    assert len(asked(tmp_path)) == 1
    expected = f"{path}: 2 images have another number of masks than of phrases and were left out"
    assert open_folder(tmp_path).notes == (expected,)


def test_sizes_and_names_of_the_pair(tmp_path: Path) -> None:
    write_pair(tmp_path, file_name="sa_7.jpg", height=SIZE[0], width=SIZE[1])
    assert asked(tmp_path)[0].masks[0]().shape == SIZE
    write_pair(tmp_path, file_name="sa_7.jpg", height=SIZE[0] + 1, width=SIZE[1])
    with pytest.raises(InputError, match=r"an RLE is for \[12, 16\], the image is \[13, 16\]"):
        asked(tmp_path)[0].masks[0]()
    write_pair(tmp_path, file_name="../sa_7.jpg")
    with pytest.raises(InputError, match=r"images\[0\] names '../sa_7.jpg'"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("mask", {"annotations": [{"image_id": "x"}]}, "image_id 'x' is not among the file's images"),
        ("mask", {"images": 3}, "images is 3; expected a list"),
        ("caption", {"annotations": [{"image_id": "sa_7", "caption": "x"}]}, "has no 'labels'"),
    ],
)
def test_damaged_pairs_are_named(kind: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_pair(tmp_path).with_name(f"val_gcg_coco_{kind}_gt.json")
    write(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(InputError, match=message) as error:
        open_folder(tmp_path)
    assert str(path) in str(error.value)


def test_a_pair_is_two_files(tmp_path: Path) -> None:
    write_pair(tmp_path).with_name("val_gcg_coco_caption_gt.json").unlink()
    with pytest.raises(InputError, match=r"val_gcg_coco_caption_gt.json does not exist"):
        open_folder(tmp_path)


def refcocog(**fields: Any) -> dict[str, Any]:
    refs = [
        {"sentence": "A Dog", "segmentation": polygon(DOG)},
        {"sentence": "a cat", "segmentation": polygon(CAT)},
        {"sentence": "cat chases", "segmentation": polygon(CAT)},
        {"sentence": "a bird", "segmentation": polygon(CAT)},
        {"sentence": "chases", "segmentation": []},
    ]
    return {"img_file_name": "7.jpg", "caption": '"A cat chases a dog."', "refs": refs, **fields}


@pytest.mark.parametrize("fields", [{}, {"height": SIZE[0], "width": SIZE[1]}])
def test_refcocog(fields: dict[str, Any], tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "coco2014" / "train2014" / "7.jpg")
    path = write(tmp_path / "annotations/train/RefCOCOg_GCG_val.json", [{"1": refcocog(**fields)}])
    (ask,) = asked(tmp_path)
    assert (ask.text, ask.phrases) == ("a cat chases a dog.", ("a cat", "a dog"))
    assert np.array_equal(ask.masks[0](), CAT) and np.array_equal(ask.masks[1](), DOG)
    assert source(tmp_path)["without_outline"] == 1
    write(path, [{"1": {**refcocog(), "refs": [{"sentence": 3}]}}])
    with pytest.raises(InputError, match=r"refs\[0\]\.sentence is 3; expected text"):
        open_folder(tmp_path)


def test_flickr(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "flickr30k" / "images" / "train" / "7.jpg")
    image = {"file_name": "7.jpg", "height": SIZE[0], "width": SIZE[1]}
    images = [{"id": 1, "caption": "A cat chases a dog.", **image}, {"id": 2, "caption": "A cat", **image}]
    annotations = [
        {"image_id": 1, "tokens_positive": [[13, 18]], "sam_mask": encoded(DOG)},
        {"image_id": 1, "tokens_positive": [[0, 5], [6, 12]], "sam_mask": encoded(CAT)},
        {"image_id": 1, "tokens_positive": [[2, 12]], "sam_mask": encoded(CAT)},
        {"image_id": 1, "tokens_positive": [], "sam_mask": encoded(CAT)},
        {"image_id": 1, "tokens_positive": [[6, 12]], "sam_mask": None},
        {"image_id": 2, "tokens_positive": [[0, 5]], "sam_mask": encoded(CAT)},
    ]
    path = write(
        tmp_path / "annotations/train/flickr_mergedGT_GCG_val.json", {"images": images, "annotations": annotations}
    )
    (ask,) = asked(tmp_path)
    assert (ask.text, ask.phrases) == ("a cat chases a dog.", ("a cat", "a dog"))
    assert np.array_equal(ask.masks[0](), CAT) and np.array_equal(ask.masks[1](), DOG)
    assert source(tmp_path)["without_outline"] == 1
    write(path, {"images": images, "annotations": [{**annotations[0], "image_id": 9}]})
    with pytest.raises(InputError, match=r"annotations\[0\]: image_id 9 is not among"):
        open_folder(tmp_path)
