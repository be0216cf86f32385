from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runtime.label.labels import CATEGORIES, DATA, mask, picture, random_record, record
from xsam_edge.runtime.label.formats.coco import Instances, Panoptic
from xsam_edge.runtime.label.formats.writer import DataSet

RECORDS = [random_record(f"{seed}.jpg", seed) for seed in range(6)]


def write(folder: Path, data: DataSet = DATA) -> tuple[dict[str, Any], dict[str, Any]]:
    folder.mkdir()
    writers = (Instances(folder, data), Panoptic(folder, data))
    for number, given in enumerate(RECORDS):
        for writer in writers:
            writer.add(picture(given, 10 * number + 1))
    for writer in writers:
        writer.close()
    assert sorted(path.name for path in folder.iterdir()) == ["instances.json", "panoptic", "panoptic.json"]
    return json.loads((folder / "instances.json").read_text()), json.loads((folder / "panoptic.json").read_text())


def test_instances(tmp_path: Path) -> None:
    instances, _ = write(tmp_path / "out")
    assert [item["id"] for item in instances["images"]] == [1, 11, 21, 31, 41, 51]
    assert instances["images"][1] == {"id": 11, "file_name": "1.jpg", "height": 20, "width": 30}
    assert [(item["id"], item["name"], item["isthing"]) for item in instances["categories"]] == [
        (item.id, item.name, item.is_thing) for item in CATEGORIES
    ]
    annotations = instances["annotations"]
    assert [item["id"] for item in annotations] == list(range(1, len(annotations) + 1))
    assert len(annotations) == sum(len(given["segments"]) for given in RECORDS)
    assert {item["iscrowd"] for item in annotations} == {0}


def test_instances_are_what_pycocotools_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    masks = pytest.importorskip("pycocotools.mask")
    write(tmp_path / "rle")
    write(tmp_path / "polygons", DataSet(CATEGORIES, "abc", polygons=True))
    for form in ("rle", "polygons"):
        read = coco.COCO(tmp_path / form / "instances.json")
        for number, given in enumerate(RECORDS):
            found = read.loadAnns(read.getAnnIds(10 * number + 1))
            for annotation, segment in zip(found, picture(given).segments, strict=True):
                wanted = segment.mask()
                drawn = read.annToMask(annotation).astype(bool)
                # Polygons of pycocotools are drawn without a hole's one-pixel way back.
                assert (drawn != wanted).mean() <= (0.02 if form == "polygons" else 0)
                code = masks.encode(np.asfortranarray(wanted.astype(np.uint8)))
                assert annotation["area"] == masks.area(code)
                assert annotation["bbox"] == masks.toBbox(code).tolist()
    capsys.readouterr()


def test_panoptic_is_what_panopticapi_reads(tmp_path: Path) -> None:
    _, panoptic = write(tmp_path / "out")
    assert all(len(item["color"]) == 3 for item in panoptic["categories"])
    images = {item["id"]: item for item in panoptic["images"]}
    for annotation, given in zip(panoptic["annotations"], RECORDS, strict=True):
        # As rgb2id of panopticapi.
        png = Image.open(tmp_path / "out" / "panoptic" / annotation["file_name"])
        assert png.mode == "RGB"
        pixels = np.asarray(png).astype(np.int64)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 256 * 256 * pixels[..., 2]
        assert ids.shape == (images[annotation["image_id"]]["height"], images[annotation["image_id"]]["width"])
        infos = annotation["segments_info"]
        assert {item["id"] for item in infos} | {0} == set(np.unique(ids).tolist()) | {0}
        assert len({item["id"] for item in infos}) == len(infos)
        for info in infos:
            rows, columns = np.nonzero(ids == info["id"])
            assert info["area"] == len(rows)
            x, y, width, height = info["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert info["iscrowd"] == 0
        best = max(picture(given).segments, key=lambda segment: segment.score)
        (info,) = [item for item in infos if item["score"] == best.score]
        np.testing.assert_array_equal(ids == info["id"], best.mask())
        assert info["category_id"] == best.category.id


def test_a_set_without_a_segment(tmp_path: Path) -> None:
    writers = (Instances(tmp_path, DATA), Panoptic(tmp_path, DATA))
    for writer in writers:
        writer.add(picture(record("a.jpg", (2, 3), parts=2)))
        writer.close()
    read = json.loads((tmp_path / "instances.json").read_text())
    assert (read["annotations"], read["images"][0]["approximate"]) == ([], True)
    assert json.loads((tmp_path / "panoptic.json").read_text())["annotations"][0]["segments_info"] == []


def test_ids_differ_however_many_segments_there_are(tmp_path: Path) -> None:
    size = (1, 400)
    segments = [("car", 0.5, mask(size, 0, column, 1, column + 1)) for column in range(400)]
    writer = Panoptic(tmp_path, DATA)
    writer.add(picture(record("a.jpg", size, *segments)))
    writer.close()
    (annotation,) = json.loads((tmp_path / "panoptic.json").read_text())["annotations"]
    ids = [item["id"] for item in annotation["segments_info"]]
    assert len(set(ids)) == 400 and min(ids) > 0 and max(ids) < 1 << 24
