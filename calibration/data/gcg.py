"""Grounded captions in the form of GranD-f: a JSON list of captions whose phrases have masks.

Each record is ``{file_name, caption, groundings: {phrase: {token_positives, rle_masks}}}``. As in the official
``ImgGCGSegDataset``, captions and phrases are lower-cased, and phrases that the caption does not hold or whose place
in it overlaps an earlier one are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import Size, choose_split, find_folder, read_annotations
from xsam_edge.calibration.data.masks import CocoSegmentation, parse_segmentation
from xsam_edge.calibration.data.samples import Ask, Caption
from xsam_edge.runtime.bundle.constraints import FileName
from xsam_edge.runtime.bundle.conversion import at_key
from xsam_edge.runtime.errors import InputError

_SNIFFED = 1 << 20  # bytes of a file by which its format is told
_FOLDERS = (".", "annotations", "annotations/train", "annotations/val_test")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Grounding:
    extra_keys: ClassVar[bool] = True

    token_positives: tuple[int, int]  # where the phrase starts and ends
    rle_masks: tuple[Any, ...] | None = ()


@dataclass(frozen=True)
class _Record:
    extra_keys: ClassVar[bool] = True

    file_name: FileName
    caption: str
    groundings: Mapping[str, _Grounding]


def open_captions(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The grounded captions of a folder for one split, and the splits that it holds.

    A file's split is the end of its name, as in ``OpenPsgGCG_val.json``.

    Raises InputError for a file that is damaged, for two of one split, and for missing images.
    """
    splits: dict[str, list[Path]] = {}
    for path in [path for folder in _FOLDERS for path in sorted((root / folder).glob("*.json")) if _is(path)]:
        splits.setdefault(_split(path), []).append(path)
    chosen = choose_split(list(splits), split, root) if splits else None
    if chosen is None:
        return [], list(splits)
    path, *others = splits[chosen]
    if others:
        raise InputError(f"{root} holds captions for {chosen} in {path.name} and in {others[0].name}; leave one there")
    records = read_annotations(path, tuple[_Record, ...])
    folders = [
        root / name for name in ("images", chosen, f"images/{chosen}", "train2017", "val2017", "images/train2017", ".")
    ]
    folder = find_folder([record.file_name for record in records], folders, f"{path}: its images")
    entries = []
    without_outline = 0
    for index, record in enumerate(records):
        text = _clean(record.caption)
        parsed = list(_segmentations(record.groundings, f"{path}: [{index}].groundings"))
        outlined = [item for item in parsed if not item[2].is_empty]
        without_outline += len(parsed) - len(outlined)
        phrases = tuple(_phrases(text, outlined))
        if phrases:
            size = phrases[0][1].runs[0].size
            entries.append(Entry(folder / record.file_name, size, {"captions": partial(_asks, text, phrases, size)}))
    if not entries:
        raise InputError(f"{path} has no phrase with a mask")
    facts = {"file": str(path), "images": str(folder), "split": chosen}
    return [AnnotationFile("GranD-f captions", tuple(entries), facts, without_outline)], list(splits)


def _is(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    return head.lstrip().startswith(b"[") and b'"groundings"' in head and b'"caption"' in head


def _split(path: Path) -> str:
    last = path.stem.replace("-", "_").split("_")[-1]
    return last if last in _SPLITS else path.stem


Grounded = tuple[str, CocoSegmentation]


def _segmentations(
    groundings: Mapping[str, _Grounding], where: str
) -> Iterator[tuple[str, _Grounding, CocoSegmentation]]:
    for phrase, grounding in groundings.items():
        named = f"{where}{at_key(phrase)}.rle_masks"
        segmentation = parse_segmentation(list(grounding.rle_masks or ()), named)
        if segmentation.polygons:
            raise InputError(f"{named} holds polygons; expected run-length encoded masks")
        yield _clean(phrase), grounding, segmentation


def _phrases(caption: str, outlined: Sequence[tuple[str, _Grounding, CocoSegmentation]]) -> Iterator[Grounded]:
    placed = [
        (*grounding.token_positives, phrase, segmentation)
        for phrase, grounding, segmentation in outlined
        if phrase and phrase in caption
    ]
    last = -1
    for start, end, phrase, segmentation in sorted(placed, key=lambda item: item[0]):
        if start > last and start < end:
            last = end
            yield phrase, segmentation


def _clean(text: str) -> str:
    return text.strip('"').strip().lower()


def _asks(text: str, phrases: Sequence[Grounded], size: Size) -> Sequence[Ask]:
    masks = tuple(partial(segmentation.mask, size) for _, segmentation in phrases)
    return [Caption(text, tuple(phrase for phrase, _ in phrases), masks)]
