"""Average precision of small, medium and large objects against pycocotools on the same files."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.annotated import image_record, write, write_image
from tests.scripted import answer
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import Categories
from xsam_edge.calibration.evaluation.instances import InstanceMetrics
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

SIZE = (160, 160)
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def ring(y: int, x: int, side: int, width: int) -> np.ndarray:
    """A square ring, whose box is much larger than itself."""
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    mask[y + width : y + side - width, x + width : x + side - width] = False
    return mask


SMALL, LARGE, SURPLUS = ring(0, 0, 60, 3), ring(10, 20, 120, 30), ring(90, 90, 60, 3)


def corners(y: int, x: int, side: int) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def found() -> Result:
    """A small ring that is there, one that is not and scores more, and one that nearly fits a large one."""
    near = LARGE.copy()
    near[10:20] = False
    segments = [Segment.from_mask(mask, score, "ring") for mask, score in ((SMALL, 0.5), (SURPLUS, 0.9), (near, 0.7))]
    return answer(*segments, size=SIZE)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """A small ring, a large one, and a polygon whose area the file puts among the medium ones."""
    write_image(tmp_path / "val2017" / image_record(1)["file_name"], SIZE)
    shapes: list[dict[str, Any]] = [
        {"segmentation": dict(rle.encode(mask)), "area": int(mask.sum())} for mask in (SMALL, LARGE)
    ]
    shapes.append({"segmentation": [corners(1, 1, 31)], "area": 1100.5})
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, **shape} for number, shape in enumerate(shapes, 1)
    ]
    data = {"images": [image_record(1, SIZE)], "annotations": annotations, "categories": [{"id": 1, "name": "ring"}]}
    return write(tmp_path / "annotations" / "instances_val2017.json", data)


def official(truth: Path, results: list[dict[str, Any]]) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        judge = COCOeval(coco, coco.loadRes(results), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip(NAMES, judge.stats[:6].tolist(), strict=True))


def test_written_results_are_judged_by_the_size_of_their_masks(truth: Path) -> None:
    results = json.loads(json.dumps(found().to_coco(image_id=1)))
    for result in results:
        result["category_id"] = 1
    boxed = [{**result, "bbox": [0, 0, 160, 160]} for result in json.loads(json.dumps(results))]
    judged = official(truth, results)
    # The surplus is as small as the ring, and takes half of its precision; a box would make it a large one.
    assert judged["ap_small"] == pytest.approx(0.5)
    assert official(truth, boxed)["ap_small"] == pytest.approx(1), "what a bbox would do"
    areas = [result["area"] for result in results]
    assert areas == [segment.area for segment in found().segments], "loadRes takes the masks'"


def test_ours_is_that_of_pycocotools(truth: Path) -> None:
    (picture,) = open_folder(truth.parent.parent).pictures(["instances"])
    (ask,) = picture.asks
    assert isinstance(ask, Categories)
    metrics = InstanceMetrics(1)
    metrics.add(ask, found())
    ours = metrics.result()
    results = [{**result, "category_id": 1} for result in found().to_coco(image_id=1)]
    theirs = official(truth, results)
    assert {name: ours[name] for name in NAMES} == pytest.approx(theirs)
    assert theirs["ap_medium"] == 0, "by its own area the square is a medium one; its 961 pixels are small"
