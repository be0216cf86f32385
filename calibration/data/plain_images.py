"""A folder of images without annotations, asked what one would ask of photographs of streets, rooms and landscapes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from xsam_edge.calibration.data.files import open_picture, picture_size
from xsam_edge.calibration.data.prompt_source import PromptSource, content_hash, pick_asks
from xsam_edge.calibration.data.samples import Ask, BoolMask, Caption, Categories, Lazy, Phrase, Picture, Regions
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.regions import box_mask, point_mask

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

PHRASES = (
    "the person",
    "the largest object",
    "the object in the middle",
    "the thing on the left",
    "the background",
    "the car on the right",
    "the small object in front",
    "the chair next to the table",
)
SENTENCES = (
    "What in this picture could move on its own?",
    "Which part of the picture is furthest away?",
    "What would a person sit on or stand on here?",
    "Find what draws the eye first.",
)
THINGS = (
    "person",
    "bicycle",
    "car",
    "bus",
    "dog",
    "cat",
    "chair",
    "dining table",
    "bottle",
    "tv",
    "book",
    "potted plant",
)
STUFF = ("wall", "floor", "sky", "tree", "grass", "road", "building", "water")
"""Frequent categories of COCO, few enough for the context of a small model."""


def open_images(folder: Path) -> PromptSource:
    """All images of a folder and its sub-folders, in the order of their paths.

    Raises InputError where there is none.
    """
    paths = sorted(
        Path(at) / name
        for at, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    if not paths:
        raise InputError(
            f"{folder} holds neither a data set that is known nor an image ({', '.join(SUFFIXES)}); give a folder of "
            "images to calibrate on"
        )

    def picture(index: int) -> Picture:
        path = paths[index]
        name = path.relative_to(folder).as_posix()
        return Picture(name, partial(open_picture, path, None), pick_asks(image_asks(path), index))

    prompts = [PHRASES, SENTENCES, THINGS, STUFF]
    return PromptSource(
        len(paths),
        picture,
        lambda index: index,
        lambda numbers: {"images": content_hash(paths[index] for index in numbers), "asked": prompts},
    )


def image_asks(path: Path) -> list[Ask]:
    """Everything that is asked of images whose content is not known."""
    return [
        *(Phrase("refer", text, None) for text in PHRASES),
        *(Phrase("reason", text, None) for text in SENTENCES),
        Categories("panoptic", THINGS + STUFF, len(THINGS), ()),
        Categories("semantic", THINGS + STUFF, len(THINGS), ()),
        Categories("instances", THINGS, len(THINGS), ()),
        Regions((partial(_middle, path, "point"),), (), False, "point"),
        Regions((partial(_middle, path, "box"),), (), False, "box"),
        Regions((partial(_middle, path, "point"), partial(_middle, path, "box")), (), True),
        Caption("", (), ()),
    ]


def drawn_region(path: Path, kind: str, values: Sequence[float]) -> Lazy:
    """The mask of a region of an image file: of a "box" (x0, y0, x1, y1) or of a "point" (x, y), in its pixels.

    Calling it raises InputError where the region does not fit the image.
    """
    return partial(_drawn, path, kind, values)


def _drawn(path: Path, kind: str, values: Sequence[float]) -> BoolMask:
    return (box_mask if kind == "box" else point_mask)(values, picture_size(path))


def _middle(path: Path, kind: Literal["point", "box"]) -> BoolMask:
    """The middle of an image, or the box around its middle half."""
    height, width = picture_size(path)
    if kind == "point":
        return point_mask((width / 2, height / 2), (height, width))
    mask = np.zeros((height, width), bool)
    mask[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None] = True
    return mask
