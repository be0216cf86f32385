"""ReasonSeg folders: ``NAME.jpg`` with ``NAME.json`` beside it, in one folder for each split.

The JSON is LabelMe's: ``text`` holds what is asked, ``is_sentence`` says whether that is a sentence or a phrase,
``shapes`` the outlines of the answer. Outlines are drawn from the largest to the smallest; "ignore" in a label marks
pixels that are not judged, "flag" an outline that means nothing (``ImgReaSegDataset`` of the official code). With
``"no_target": true``, as in gRefCOCO, what is asked for is not in the image, and there is no outline.

LabelMe, and OpenCV, by which the tools of ReasonSeg read images, turn an image by its EXIF orientation: annotations are
for the upright one, unless ``imageHeight`` and ``imageWidth`` are those of the stored pixels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import ADVICE, Flag, Size, choose_split, picture_size
from xsam_edge.calibration.data.labelme import Shape, ShapeRecord, parse_shape
from xsam_edge.calibration.data.samples import Ask, BoolMask, Phrase
from xsam_edge.runtime.bundle.constraints import PositiveInt
from xsam_edge.runtime.bundle.typed_json import from_json, load_json
from xsam_edge.runtime.errors import InputError

_IMAGES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_SPLITS = ("val", "test", "train")


@dataclass(frozen=True)
class _Labelled:
    extra_keys: ClassVar[bool] = True

    text: str | tuple[str, ...]
    shapes: tuple[ShapeRecord, ...]
    is_sentence: Flag = False
    no_target: Flag = False
    imageHeight: PositiveInt | None = None  # noqa: N815, as LabelMe writes it
    imageWidth: PositiveInt | None = None  # noqa: N815

    @property
    def size(self) -> Size | None:
        """Of the pixels that the outlines are for, where the file says it."""
        return (self.imageHeight, self.imageWidth) if self.imageHeight and self.imageWidth else None

    def check(self) -> None:
        """Raise ValueError where something is both outlined and absent."""
        count = sum(shape.label.lower() != "flag" for shape in self.shapes)
        if self.no_target and count:
            raise ValueError(f"no_target is true beside {count} outline{'s'[: count != 1]}; expected no outline")


@dataclass(frozen=True)
class _Outline:
    shape: Shape
    ignored: bool


def open_reasonseg(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The questions of a folder for one split, and the splits that it holds ("" where it has no folders of its own).

    Raises InputError for a file that is damaged, and for annotations without an image.
    """
    splits = {name: root / name for name in _SPLITS if _holds(root / name)}
    if not splits and _holds(root):
        splits = {"": root}
        split = None  # the folder is the split
    chosen = choose_split(list(splits), split, root) if splits else None
    if chosen is None:
        return [], list(splits)
    read = [_entry(path) for path in sorted(splits[chosen].glob("*.json"))]
    entries = [entry for entry, _ in read if entry]
    if not entries:
        raise InputError(f"{splits[chosen]} holds no file with 'text' and an outline to segment")
    facts = {"images": str(splits[chosen]), "split": chosen}
    without_outline = sum(count for _, count in read)
    return [AnnotationFile("ReasonSeg", tuple(entries), facts, without_outline)], list(splits)


def _holds(folder: Path) -> bool:
    """Whether a folder has a JSON file in this format with an image beside it."""
    for path in sorted(folder.glob("*.json"))[:20]:
        if _image(path):
            with suppress(InputError):
                data = load_json(path, lenient=True)
                if isinstance(data, dict) and {"shapes", "text"} <= data.keys():
                    return True
    return False


def _image(path: Path) -> Path | None:
    return next((path.with_suffix(end) for end in _IMAGES if path.with_suffix(end).is_file()), None)


def _entry(path: Path) -> tuple[Entry | None, int]:
    """One annotated image, None where nothing is asked for, or nothing says what it is; and how many shapes of it have
    no outline.
    """
    data = from_json(_Labelled, load_json(path, advice=ADVICE, lenient=True), str(path), advice=ADVICE)
    texts = [data.text] if isinstance(data.text, str) else data.text
    texts = [text for item in texts if (text := item.strip())]
    outlines = []
    without_outline = 0
    for index, record in enumerate(data.shapes):
        if (label := record.label.lower()) == "flag":
            continue
        shape = parse_shape(record, str(path), f"shapes[{index}]", data.size)
        if shape is None:
            without_outline += 1
        else:
            outlines.append(_Outline(shape, "ignore" in label))
    image = _image(path)
    if image is None:
        raise InputError(f"{path} has no image beside it; expected {path.stem}.jpg")
    if not texts or (not data.no_target and all(outline.ignored for outline in outlines)):
        return None, without_outline
    make = partial(_asks, image, data.size, tuple(texts), tuple(outlines), not data.is_sentence)
    return Entry(image, data.size, {"reason": make}, annotated_upright=True), without_outline


def _asks(
    image: Path, size: Size | None, texts: Sequence[str], outlines: tuple[_Outline, ...], short: bool
) -> Sequence[Ask]:
    mask = partial(_drawn, image, size, outlines, 1) if outlines else None
    ignored = partial(_drawn, image, size, outlines, 2) if any(outline.ignored for outline in outlines) else None
    kind = "phrase" if short else "sentence"
    return [Phrase("reason", text, mask, kind, ignored, short=short) for text in texts]


def _drawn(image: Path, size: Size | None, outlines: tuple[_Outline, ...], value: int) -> BoolMask:
    return np.asarray(_levels(outlines, size or picture_size(image)) == value)


@lru_cache(maxsize=2)  # an image's questions share its mask
def _levels(outlines: tuple[_Outline, ...], size: Size) -> Any:
    """1 inside the answer, 2 where pixels are ignored, else 0; uint8 [H, W]."""
    drawn = [(outline.shape.mask(size), outline.ignored) for outline in outlines]
    levels = np.zeros(size, np.uint8)
    for mask, ignored in sorted(drawn, key=lambda item: -int(np.count_nonzero(item[0]))):
        levels[mask] = 2 if ignored else 1
    levels.setflags(write=False)
    return levels
