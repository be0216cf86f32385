"""Folders of annotated images in the common formats, small and written by the test that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.results import rle

SIZE = (12, 16)
CAT = np.zeros(SIZE, bool)
CAT[2:8, 1:6] = True
DOG = np.zeros(SIZE, bool)
DOG[3:11, 8:14] = True


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 120, 30)).save(path)
    return path


WITHOUT_OUTLINE = (
    {},
    {"segmentation": None},
    {"segmentation": []},
    {"segmentation": [[]]},
    {"segmentation": [[1, 1, 5, 5]]},
    {"segmentation": [[1, 1, 5, 5, 3, 3], [4, 2, 4, 2, 4, 2]]},
    {"segmentation": [[-9, -9, -1, -9, -1, -1]]},
    {"segmentation": {"size": list(SIZE), "counts": [192]}},
    {"segmentation": [dict(rle.encode(np.zeros(SIZE, bool)))]},
)
"""What an annotation may hold that says nothing of where its object is."""


def image_record(number: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number:012}.jpg", "height": size[0], "width": size[1]}


def polygon(mask: np.ndarray) -> list[list[float]]:
    """The corners of a rectangular mask."""
    rows, columns = np.nonzero(mask)
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    return [[float(value) for value in (left, top, right, top, right, bottom, left, bottom)]]


def write_instances(root: Path, tag: str = "val2017", images: int = 2, folder: str = "val2017") -> Path:
    """Image 1 holds a cat (a polygon), a dog (RLE) and a crowd of dogs (runs); the others nothing."""
    records = [image_record(number) for number in range(1, images + 1)]
    annotations = [
        {"id": 11, "image_id": 1, "category_id": 17, "segmentation": polygon(CAT), "iscrowd": 0, "area": 30},
        {"id": 12, "image_id": 1, "category_id": 18, "segmentation": dict(rle.encode(DOG)), "iscrowd": 0, "area": 48},
        {
            "id": 13,
            "image_id": 1,
            "category_id": 18,
            "segmentation": {"size": list(SIZE), "counts": rle.run_lengths(~(CAT | DOG)).tolist()},
            "iscrowd": 1,
        },
    ]
    for record in records:
        write_image(root / folder / record["file_name"])
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    data = {"images": records, "annotations": annotations, "categories": categories}
    return write(root / "annotations" / f"instances_{tag}.json", data)


def write_panoptic(root: Path, tag: str = "val2017", maps: str = "panoptic_val2017") -> Path:
    """Image 1: sky with a cat (id 70,000) before it and one void row; image 2 is all sky, a crowd."""
    ids = np.full(SIZE, 258)
    ids[CAT], ids[-1] = 70_000, 0
    for number, numbers in ((1, ids), (2, np.full(SIZE, 5))):
        write_image(root / "val2017" / f"{number:012}.jpg")
        path = root / "annotations" / maps / f"{number:012}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1)
        Image.fromarray(channels.astype(np.uint8)).save(path)
    data = {
        "images": [image_record(1), image_record(2)],
        "annotations": [
            {
                "image_id": 1,
                "file_name": "000000000001.png",
                "segments_info": [
                    {"id": 258, "category_id": 187, "iscrowd": 0},
                    {"id": 70_000, "category_id": 17, "iscrowd": 0},
                ],
            },
            {
                "image_id": 2,
                "file_name": "000000000002.png",
                "segments_info": [{"id": 5, "category_id": 187, "iscrowd": 1}],
            },
        ],
        "categories": [
            {"id": 187, "name": "sky-other-merged", "isthing": 0},
            {"id": 17, "name": "cat", "isthing": 1},
        ],
    }
    return write(root / "annotations" / f"panoptic_{tag}.json", data)


def write_refs(root: Path, name: str = "refs(unc).json") -> Path:
    """References in the split val (a cat, by three sentences of which two read alike) and testA (a dog)."""
    write_instances(root)
    (root / "annotations" / "instances_val2017.json").rename(root / "instances.json")
    (root / "val2017").rename(root / "images")
    cat = [{"sent": "the cat"}, {"sent": "The Cat"}, {"raw": "left one"}]
    records = [
        {"ref_id": 1, "ann_id": 11, "image_id": 1, "split": "val", "sentences": cat},
        {"ref_id": 2, "ann_id": 12, "image_id": 1, "split": "testA", "sentences": [{"sent": "dog"}]},
    ]
    return write(root / name, records)


def write_reasons(root: Path, split: str = "val") -> Path:
    """A question with an ignored part, and a phrase."""
    folder = root / split
    question = {
        "text": ["What purrs?", "Who hunts mice?"],
        "is_sentence": True,
        "shapes": [
            {"label": "ignore", "points": [[4, 2], [5, 2], [5, 7], [4, 7]]},
            {"label": "target", "points": [[1.9, 2.2], [5.7, 2], [5, 7], [1, 7.9]]},
            {"label": "flag", "points": [[0, 0], [9, 0], [9, 9]]},
        ],
    }
    phrase = {
        "text": ["a dog"],
        "is_sentence": False,
        "shapes": [{"label": "dog", "points": [[8, 3], [13, 3], [13, 9]]}],
    }
    nothing = {
        "text": ["x"],
        "is_sentence": True,
        "shapes": [{"label": "ignore", "points": [[8, 3], [13, 3], [13, 9]]}],
    }
    for name, record in (("a", question), ("b", phrase), ("c", nothing)):
        write(folder / f"{name}.json", record)
        write_image(folder / f"{name}.jpg")
    return folder


def write_captions(root: Path, name: str = "GranDf_HA_GCG_val.json") -> Path:
    """One caption with two grounded phrases, and three that are left out."""
    write_image(root / "images" / "1.jpg")
    cat, dog = dict(rle.encode(CAT)), dict(rle.encode(DOG))
    groundings = {
        "a dog": {"token_positives": [14, 19], "rle_masks": [dog]},
        "A Cat": {"token_positives": [0, 5], "rle_masks": [cat]},
        "cat chases": {"token_positives": [2, 12], "rle_masks": [cat]},
        "a bird": {"token_positives": [20, 26], "rle_masks": [cat]},
        "chases": {"token_positives": [6, 12], "rle_masks": []},
    }
    record = {"file_name": "1.jpg", "image_id": "1", "caption": '"A cat chases a dog."', "groundings": groundings}
    return write(root / name, [record])
