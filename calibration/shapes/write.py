"""Drawn scenes as an ordinary folder, in the formats that ``calibration.data`` reads and other tools know.

``images/`` with COCO's instances and panoptic annotations, RefCOCO's records as JSON, ReasonSeg's folder and grounded
captions in the form of GranD-f, all about the same scenes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import GROUNDS, SHAPES, Composition
from xsam_edge.calibration.shapes.dataset import ShapesData
from xsam_edge.calibration.shapes.draw import Drawing, draw, outline
from xsam_edge.runtime.progress import Progress, Tally, silent
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.iou import mask_box

_CATEGORIES = [
    {"id": index + 1, "name": name, "isthing": int(name in SHAPES)} for index, name in enumerate((*SHAPES, *GROUNDS))
]

Json = dict[str, Any]


def write_folder(
    folder: Path, data: ShapesData, seeds: Sequence[int], split: str = "val", progress: Progress = silent
) -> None:
    """Write scenes of some seeds of a data set into a new folder.

    ``progress`` is told of each scene. Raises FileExistsError where the folder exists.
    """
    folder.mkdir(parents=True)
    maps = folder / "annotations" / f"panoptic_{split}"
    for made in (folder / "images", maps, folder / split):
        made.mkdir(parents=True)
    images: list[Json] = []
    instances: list[Json] = []
    panoptic: list[Json] = []
    refs: list[Json] = []
    captions: list[Json] = []
    drawn = Tally(progress, "draw", len(seeds), "scenes")
    for seed in seeds:
        composition, size = data.composition(seed), data.size(seed)
        drawing = draw(composition, size)
        name = f"{seed:08d}"
        Image.fromarray(drawing.pixels).save(folder / "images" / f"{name}.png")
        images.append({"id": seed, "file_name": f"{name}.png", "height": size, "width": size})
        first = len(instances) + 1
        things = [_instance(composition, drawing, index, first) for index in range(len(composition.things))]
        instances += things
        panoptic.append(_panoptic(composition, drawing, maps / f"{name}.png"))
        refs += _refs(composition, f"{name}.png", things, split, len(refs))
        captions.append(_caption(composition, drawing, f"{name}.png"))
        _write_reasoning(composition, size, drawing, folder / split / name)
        drawn.add(1)
    things = [{"id": item["id"], "name": item["name"]} for item in _CATEGORIES if item["isthing"]]
    listed = {"images": images, "annotations": instances, "categories": things}
    _write(folder / "annotations" / f"instances_{split}.json", listed)
    _write(folder / "instances.json", listed)  # where RefCOCO has it
    _write(folder / "refs.json", refs)
    _write(
        folder / "annotations" / f"panoptic_{split}.json",
        {"images": images, "annotations": panoptic, "categories": _CATEGORIES},
    )
    _write(folder / "annotations" / f"captions_{split}.json", captions)


def _instance(composition: Composition, drawing: Drawing, index: int, first: int) -> Json:
    mask = drawing.index == index
    x0, y0, x1, y1 = mask_box(mask)
    return {
        "id": first + index,
        "image_id": composition.seed,
        "category_id": SHAPES.index(composition.things[index].shape) + 1,
        "segmentation": dict(rle.encode(mask)),
        "area": int(mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
    }


def _panoptic(composition: Composition, drawing: Drawing, path: Path) -> Json:
    names = [*(thing.shape for thing in composition.things), *composition.grounds]
    numbers = drawing.index.astype(np.uint8) + 1  # 0 is void
    Image.fromarray(np.stack([numbers, np.zeros_like(numbers), np.zeros_like(numbers)], axis=-1)).save(path)
    segments = [
        {
            "id": index + 1,
            "category_id": (*SHAPES, *GROUNDS).index(name) + 1,
            "area": int((drawing.index == index).sum()),
            "iscrowd": 0,
        }
        for index, name in enumerate(names)
    ]
    return {"image_id": composition.seed, "file_name": path.name, "segments_info": segments}


def _refs(composition: Composition, name: str, instances: Sequence[Json], split: str, first: int) -> list[Json]:
    """One record per thing, with a sentence of each kind that names it."""
    records = []
    for index, instance in enumerate(instances):
        of_thing = {item.kind: item.text for item in phrases.expressions(composition) if item.thing == index}
        records.append(
            {
                "ref_id": first + index,
                "ann_id": instance["id"],
                "image_id": composition.seed,
                "category_id": instance["category_id"],
                "file_name": name,
                "split": split,
                "sentences": [{"sent_id": number, "sent": text} for number, text in enumerate(of_thing.values())],
            }
        )
    return records


def _caption(composition: Composition, drawing: Drawing, name: str) -> Json:
    tagged, named = phrases.caption(composition)
    text = tagged.replace("<p>", "").replace("</p>", "")
    ground = len(composition.things) + len(composition.grounds) - 1
    groundings = {}
    for phrase, index in named:
        start = text.index(phrase)
        mask: npt.NDArray[np.bool_] = drawing.index == (ground if index is None else index)
        groundings[phrase] = {"token_positives": [start, start + len(phrase)], "rle_masks": [dict(rle.encode(mask))]}
    return {"file_name": name, "caption": text, "groundings": groundings}


def _write_reasoning(composition: Composition, size: int, drawing: Drawing, path: Path) -> None:
    """An image with LabelMe's JSON beside it, about the first thing that nothing else hides."""
    for expression in phrases.sentences(composition):
        if expression.thing is None or not _is_whole(composition, expression.thing, size, drawing):
            continue
        corners = [[x * size, y * size] for x, y in outline(composition.things[expression.thing])]
        Image.fromarray(drawing.pixels).save(path.with_suffix(".png"))
        shape = {"label": "target", "shape_type": "polygon", "points": corners}
        _write(path.with_suffix(".json"), {"text": [expression.text], "is_sentence": True, "shapes": [shape]})
        return


def _is_whole(composition: Composition, index: int, size: int, drawing: Drawing) -> bool:
    alone = Composition(**{**vars(composition), "things": (composition.things[index],)})
    return bool(((draw(alone, size).index == 0) == (drawing.index == index)).all())


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
