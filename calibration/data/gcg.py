"""Grounded captions in the form of GranD-f: a JSON list of captions whose phrases have masks.

Each record is ``{file_name, caption, groundings: {phrase: {token_positives, rle_masks}}}``. As in the official
``ImgGCGSegDataset``, captions and phrases are lower-cased, and phrases that the caption does not hold or whose place
in it overlaps an earlier one are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import Size, checked, choose_split, field, file_name, find_folder, read_json
from xsam_edge.calibration.data.masks import Segmentation, parse_segmentation
from xsam_edge.calibration.data.samples import Ask, Caption
from xsam_edge.runtime.errors import InputError

_SNIFFED = 1 << 20  # bytes of a file by which its format is told
_FOLDERS = (".", "annotations", "annotations/train", "annotations/val_test")
_SPLITS = ("train", "val", "test")


def open_captions(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The grounded captions of a folder for one split, and the splits that it holds.

    A file's split is the end of its name, as in ``OpenPsgGCG_val.json``.

    Raises InputError for a file that is damaged, for two of one split, and for missing images.
    """
    found: dict[str, list[Path]] = {}
    for path in [path for folder in _FOLDERS for path in sorted((root / folder).glob("*.json")) if _is(path)]:
        found.setdefault(_split(path), []).append(path)
    chosen = choose_split(list(found), split, root) if found else None
    if chosen is None:
        return [], list(found)
    path, *others = found[chosen]
    if others:
        raise InputError(f"{root} holds captions for {chosen} in {path.name} and in {others[0].name}; leave one there")
    records = [_record(record, f"{path}: record {index}") for index, record in enumerate(read_json(path, list))]
    folders = [
        root / name for name in ("images", chosen, f"images/{chosen}", "train2017", "val2017", "images/train2017", ".")
    ]
    folder = find_folder([name for name, _, _ in records], folders, f"{path}: its images")
    entries = []
    for name, text, phrases in records:
        if phrases:
            size = phrases[0][1].runs[0].size
            entries.append(Entry(folder / name, size, {"captions": partial(_asks, text, phrases, size)}))
    if not entries:
        raise InputError(f"{path} has no phrase with a mask")
    facts = {"file": str(path), "images": str(folder), "split": chosen}
    return [AnnotationFile("GranD-f captions", tuple(entries), facts)], list(found)


def _is(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    return head.lstrip().startswith(b"[") and b'"groundings"' in head and b'"caption"' in head


def _split(path: Path) -> str:
    last = path.stem.replace("-", "_").split("_")[-1]
    return last if last in _SPLITS else path.stem


Grounded = tuple[str, Segmentation]


def _record(record: Any, where: str) -> tuple[str, str, tuple[Grounded, ...]]:
    caption = _clean(field(record, "caption", str, where))
    groundings = field(record, "groundings", dict, where)
    return file_name(record, "file_name", where), caption, tuple(_phrases(caption, groundings, where))


def _phrases(caption: str, groundings: dict[str, Any], where: str) -> Iterator[Grounded]:
    placed = []
    for phrase, grounding in groundings.items():
        named = f"{where}: {phrase!r}"
        place = field(grounding, "token_positives", list, named)
        if len(place) != 2:
            raise InputError(f"{named}: 'token_positives' is {place}; expected where the phrase starts and ends")
        start, end = (checked(value, int, f"{named}: 'token_positives'") for value in place)
        segmentation = parse_segmentation(field(grounding, "rle_masks", list, named), named)
        if segmentation.polygons:
            raise InputError(f"{named}: 'rle_masks' holds polygons; expected run-length encoded masks")
        if segmentation.runs and _clean(phrase) and _clean(phrase) in caption:
            placed.append((start, end, _clean(phrase), segmentation))
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
