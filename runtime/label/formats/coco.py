"""COCO's two forms: instances, and panoptic with a PNG of segment ids for each picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.label.formats.writer import DataSet, Lists
from xsam_edge.runtime.label.records import Labelled, Picture
from xsam_edge.runtime.results.overlay import palette, segment_colors
from xsam_edge.runtime.results.polygons import coco_polygons

INSTANCES, PANOPTIC, PNGS = "instances.json", "panoptic.json", "panoptic"


class Instances:
    """``instances.json``: an annotation for every segment, with run lengths or polygons, and its score.

    Stuff is there too, a segment for each kind of it in a picture.
    """

    def __init__(self, folder: Path, data: DataSet) -> None:
        self._polygons, self._count = data.polygons, 0
        categories = [{"id": item.id, "name": item.name, **_kind(item.is_thing)} for item in data.categories]
        head = {"info": _info(data), "licenses": [], "categories": categories}
        self._lists = Lists(folder / INSTANCES, head, ("images", "annotations"))

    def add(self, picture: Picture) -> None:
        """See :class:`Writer`."""
        self._lists.add("images", _image(picture))
        for segment in picture.segments:
            self._count += 1
            area, box = segment.bounds
            shape: Any = {"size": list(segment.size), "counts": segment.counts}
            self._lists.add(
                "annotations",
                {
                    "id": self._count,
                    "image_id": picture.id,
                    "category_id": segment.category.id,
                    "segmentation": coco_polygons(segment.mask()) if self._polygons else shape,
                    "area": area,
                    "bbox": _box(box),
                    "iscrowd": 0,
                    "score": segment.score,
                },
            )

    def close(self) -> None:
        """See :class:`Writer`."""
        self._lists.close()


class Panoptic:
    """``panoptic.json`` and a PNG for each picture, in which a segment's id is R + 256 G + 256² B, and 0 none.

    Where segments overlap, a pixel is that of the one that scores best. Ids of a picture are colours that overlays
    have too.
    """

    def __init__(self, folder: Path, data: DataSet) -> None:
        self._folder = folder / PNGS
        self._folder.mkdir()
        categories = [
            {"id": item.id, "name": item.name, **_kind(item.is_thing), "color": list(palette(item.id))}
            for item in data.categories
        ]
        head = {"info": _info(data), "licenses": [], "categories": categories}
        self._lists = Lists(folder / PANOPTIC, head, ("images", "annotations"))

    def add(self, picture: Picture) -> None:
        """See :class:`Writer`."""
        owner, segments = picture.map()
        ids = _ids(segments)
        file = f"{picture.id:012d}.png"
        pixels = np.array([0, *ids], np.uint32)[owner]
        colours = np.stack([pixels & 255, pixels >> 8 & 255, pixels >> 16], axis=-1).astype(np.uint8)
        Image.fromarray(colours).save(self._folder / file)
        described = []
        for number, (segment, id) in enumerate(zip(segments, ids, strict=True), 1):
            won = owner == number
            rows, columns = np.flatnonzero(won.any(1)), np.flatnonzero(won.any(0))
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            described.append(
                {
                    "id": id,
                    "category_id": segment.category.id,
                    "area": int(np.count_nonzero(won)),
                    "bbox": _box(box),
                    "iscrowd": 0,
                    "score": segment.score,
                }
            )
        self._lists.add("images", _image(picture))
        self._lists.add("annotations", {"image_id": picture.id, "file_name": file, "segments_info": described})

    def close(self) -> None:
        """See :class:`Writer`."""
        self._lists.close()


def _info(data: DataSet) -> dict[str, Any]:
    return {"description": "labels of xsam-label", "bundle": data.bundle}


def _kind(is_thing: bool) -> dict[str, Any]:
    return {"supercategory": "thing" if is_thing else "stuff", "isthing": int(is_thing)}


def _image(picture: Picture) -> dict[str, Any]:
    height, width = picture.size
    image: dict[str, Any] = {"id": picture.id, "file_name": picture.name, "height": height, "width": width}
    return image | ({"approximate": True} if picture.parts > 1 else {})


def _box(box: tuple[int, int, int, int]) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _ids(segments: list[Labelled]) -> list[int]:
    ids: list[int] = []
    for red, green, blue in segment_colors(segment.category.id for segment in segments):
        id = red + 256 * green + 65536 * blue
        while id in ids or not id:
            id = id % 0xFFFFFF + 1
        ids.append(id)
    return ids
