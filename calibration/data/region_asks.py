"""What a region points at, asked of annotated instances: prompts are made from their masks, always the same.

Each instance is asked for once, by its box, a point or its mask in turn. Each picture is asked once for everything
that resembles one of several regions: the box of the largest instance of each category that is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from xsam_edge.calibration.data.samples import Ask, BoolMask, Lazy, Regions, TrueSegment
from xsam_edge.runtime.image.regions import box_mask, point_mask
from xsam_edge.runtime.results.iou import mask_box

RegionKind = Literal["box", "point", "mask"]
_KINDS: tuple[RegionKind, ...] = ("box", "point", "mask")


@dataclass(frozen=True, eq=False)
class Instance:
    """One annotated object; ``label`` counts categories, ``area`` is the annotation's own, in pixels."""

    mask: Lazy
    label: int
    is_crowd: bool
    area: float | None = None


def region_asks(instances: Sequence[Instance]) -> Sequence[Ask]:
    """Asks for every instance that is no crowd and has a pixel, and for all that resemble the largest of a category."""
    areas = [0 if item.is_crowd else int(np.count_nonzero(item.mask())) for item in instances]
    asks: list[Ask] = []
    largest: dict[int, int] = {}
    for index, (item, area) in enumerate(zip(instances, areas, strict=True)):
        if not area:
            continue
        kind = _KINDS[len(asks) % len(_KINDS)]
        asks.append(Regions((partial(prompt_mask, kind, item.mask),), (TrueSegment(item.mask, 0),), False, kind))
        if item.label not in largest or area > areas[largest[item.label]]:
            largest[item.label] = index
    if largest:
        labels = {category: label for label, category in enumerate(largest)}
        prompts = tuple(partial(prompt_mask, "box", instances[index].mask) for index in largest.values())
        alike = tuple(
            TrueSegment(item.mask, labels[item.label], item.is_crowd)
            for item, area in zip(instances, areas, strict=True)
            if item.label in labels and (area or item.is_crowd)
        )
        asks.append(Regions(prompts, alike, True))
    return asks


def prompt_mask(kind: RegionKind, mask: Lazy) -> BoolMask:
    """The region by which a user would point at an object: its box, a point of it (a small disc), or its mask.

    The point is the object's pixel nearest to its centre of mass. The mask must have a pixel.
    """
    shape = mask()
    size = shape.shape[0], shape.shape[1]
    if kind == "mask":
        return shape
    if kind == "box":
        return box_mask(mask_box(shape), size)
    rows, columns = np.nonzero(shape)
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return point_mask((float(columns[nearest]), float(rows[nearest])), size)
