"""ReasonSeg folders: ``NAME.jpg`` with ``NAME.json`` beside it, in one folder for each split.

The JSON is LabelMe's: ``text`` holds what is asked, ``is_sentence`` says whether that is a sentence or a phrase,
``shapes`` the outlines of the answer. Outlines are drawn from the largest to the smallest; "ignore" in a label marks
pixels that are not judged, "flag" an outline that means nothing (``ImgReaSegDataset`` of the official code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import Size, checked, choose_split, field, flag, open_picture, read_json
from xsam_edge.calibration.data.masks import outline_mask
from xsam_edge.calibration.data.samples import Ask, BoolMask, Phrase
from xsam_edge.runtime.errors import InputError

_IMAGES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_SPLITS = ("val", "test", "train")
_FURTHEST = 1e5  # pixels

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Outline:
    points: Points
    ignored: bool


def open_reasonseg(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The questions of a folder for one split, and the splits that it holds ("" where it has no folders of its own).

    Raises InputError for a file that is damaged, and for annotations without an image.
    """
    found = {name: root / name for name in _SPLITS if _holds(root / name)}
    if not found and _holds(root):
        found = {"": root}
        split = None  # the folder is the split
    chosen = choose_split(list(found), split, root) if found else None
    if chosen is None:
        return [], list(found)
    entries = [entry for path in sorted(found[chosen].glob("*.json")) if (entry := _entry(path))]
    if not entries:
        raise InputError(f"{found[chosen]} holds no file with 'text' and an outline to segment")
    facts = {"images": str(found[chosen]), "split": chosen}
    return [AnnotationFile("ReasonSeg", tuple(entries), facts)], list(found)


def _holds(folder: Path) -> bool:
    """Whether a folder has a JSON file in this format with an image beside it."""
    for path in sorted(folder.glob("*.json"))[:20]:
        if _image(path):
            try:
                data = read_json(path, dict, lenient=True)
            except InputError:
                continue
            if "shapes" in data and "text" in data:
                return True
    return False


def _image(path: Path) -> Path | None:
    return next((path.with_suffix(end) for end in _IMAGES if path.with_suffix(end).is_file()), None)


def _entry(path: Path) -> Entry | None:
    """One annotated image; None where nothing is to be segmented in it."""
    where = str(path)
    data = read_json(path, dict, lenient=True)
    texts = data.get("text")
    texts = [texts] if isinstance(texts, str) else field(data, "text", list, where)
    texts = [text for item in texts if (text := checked(item, str, f"{where}: a text").strip())]
    outlines = []
    for shape in field(data, "shapes", list, where):
        label = field(shape, "label", str, f"{where}: a shape").lower()
        if label != "flag":
            outlines.append(_Outline(_points(shape, where), "ignore" in label))
    image = _image(path)
    if image is None:
        raise InputError(f"{path} has no image beside it; expected {path.stem}.jpg")
    if not texts or all(outline.ignored for outline in outlines):
        return None
    short = not flag(data, "is_sentence", where)
    make = partial(_asks, image, tuple(texts), tuple(outlines), short)
    return Entry(image, None, {"reason": make})


def _points(shape: Any, where: str) -> Points:
    points = []
    for item in field(shape, "points", list, f"{where}: a shape"):
        pair = checked(item, list, f"{where}: a point")
        if len(pair) != 2:
            raise InputError(f"{where}: a point has {len(pair)} numbers; expected x and y")
        x, y = (checked(value, float, f"{where}: a coordinate") for value in pair)
        if not (math.isfinite(x) and math.isfinite(y) and max(abs(x), abs(y)) <= _FURTHEST):
            raise InputError(f"{where}: a point is ({x:g}, {y:g}); expected pixels of the image")
        points.append((x, y))
    return tuple(points)


def _asks(image: Path, texts: Sequence[str], outlines: tuple[_Outline, ...], short: bool) -> Sequence[Ask]:
    mask, ignore = partial(_drawn, image, outlines, 1), partial(_drawn, image, outlines, 2)
    ignored = ignore if any(outline.ignored for outline in outlines) else None
    kind = "phrase" if short else "sentence"
    return [Phrase("reason", text, mask, kind, ignored, short=short) for text in texts]


def _drawn(image: Path, outlines: tuple[_Outline, ...], value: int) -> BoolMask:
    return np.asarray(_levels(outlines, _size(image)) == value)


@lru_cache(maxsize=2)  # an image's questions share its mask
def _size(image: Path) -> Size:
    """The size of an image, upright."""
    try:
        picture = open_picture(image, None)
    except OSError as error:
        raise InputError(str(error)) from None
    return picture.height, picture.width


@lru_cache(maxsize=2)
def _levels(outlines: tuple[_Outline, ...], size: Size) -> Any:
    """1 inside the answer, 2 where pixels are ignored, else 0; uint8 [H, W]."""
    drawn = [(outline_mask(outline.points, size), outline.ignored) for outline in outlines if outline.points]
    levels = np.zeros(size, np.uint8)
    for mask, ignored in sorted(drawn, key=lambda item: -int(np.count_nonzero(item[0]))):
        levels[mask] = 2 if ignored else 1
    levels.setflags(write=False)
    return levels
