"""Average precision of masks as COCO defines it, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xsam_edge.calibration.coco_api import coco_module
from xsam_edge.calibration.data.samples import BoolMask

PURPOSE = "average precision"
_NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def require_average_precision() -> None:
    """Raise XSamError where pycocotools is not installed."""
    for module in ("mask", "coco", "cocoeval"):
        coco_module(module, PURPOSE)


@dataclass(frozen=True, eq=False)
class Object:
    """A mask of a category: an annotated one, or one that was found with a score in 0..1.

    ``area`` is that of an annotation, in pixels; None stands for the pixels of the mask.
    """

    mask: BoolMask
    label: int = 0
    score: float = 0.0
    is_crowd: bool = False
    area: float | None = None


class AveragePrecision:
    """Gathers annotated and found objects of pictures; keeps them run-length encoded.

    Sizes (small, medium, large) are by areas of annotations and by the pixels of what was found, as pycocotools has it.
    """

    def __init__(self, categories: int = 1) -> None:
        require_average_precision()
        self._categories = categories
        self._pictures: list[dict[str, int]] = []
        self._truth: list[dict[str, Any]] = []
        self._predicted: list[dict[str, Any]] = []

    def add(self, truth: Iterable[Object], predicted: Iterable[Object]) -> None:
        """Add one picture; at most 100 objects of a category are judged, the best."""
        picture = {"id": len(self._pictures) + 1}
        self._pictures.append(picture)
        for objects, kept in ((truth, self._truth), (predicted, self._predicted)):
            for item in objects:
                picture["height"], picture["width"] = item.mask.shape
                kept.append(self._record(item, picture["id"], len(kept) + 1))

    def result(self) -> dict[str, float | None]:
        """``ap`` (IoU 0.50 to 0.95), ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large``.

        A value is None where there is no annotated object to judge it by.
        """
        if not self._truth:
            return dict.fromkeys(_NAMES)
        with contextlib.redirect_stdout(io.StringIO()):
            judge = coco_module("cocoeval", PURPOSE).COCOeval(
                self._index(self._truth), self._index(self._predicted), "segm"
            )
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        values = zip(_NAMES, judge.stats[: len(_NAMES)].tolist(), strict=True)
        return {name: None if value < 0 else value for name, value in values}

    def _record(self, item: Object, picture: int, number: int) -> dict[str, Any]:
        api = coco_module("mask", PURPOSE)
        # Ids and categories count from 1: 0 means "unmatched" to pycocotools.
        return {
            "id": number,
            "image_id": picture,
            "category_id": item.label + 1,
            "segmentation": api.encode(np.asfortranarray(item.mask, np.uint8)),
            "area": int(np.count_nonzero(item.mask)) if item.area is None else item.area,
            "score": item.score,
            "iscrowd": int(item.is_crowd),
        }

    def _index(self, records: list[dict[str, Any]]) -> Any:
        index = coco_module("coco", PURPOSE).COCO()
        categories = [{"id": label + 1} for label in range(self._categories)]
        # COCOeval writes to the records.
        index.dataset = {"images": self._pictures, "categories": categories, "annotations": [*map(dict, records)]}
        index.createIndex()
        return index
