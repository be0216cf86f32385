"""RefCOCO folders: ``refs*.p``, ``refs*.json`` or ``grefs*.json`` (gRefCOCO) beside ``instances.json``.

The data are published as pickles, ``refs(unc).p``, of which plain values are read and nothing else. Of one partition
JSON is taken before a pickle, unless it is empty. Every distinct sentence of an annotation is asked for once,
whatever its capitals, as the official ``ImgRefSegDataset`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import (
    ADVICE,
    Id,
    ImageRecord,
    Size,
    by_id,
    choose_split,
    find_folder,
    read_annotations,
)
from xsam_edge.calibration.data.masks import CocoSegmentation, parse_segmentation
from xsam_edge.calibration.data.plain_pickle import read_plain_pickle
from xsam_edge.calibration.data.samples import Ask, BoolMask, Phrase
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.errors import InputError

# Where several partitions lie in one folder, the ones that the literature reports.
_PARTITIONS = ("(unc)", "(umd)", "", "(google)")


@dataclass(frozen=True)
class _Sentence:
    extra_keys: ClassVar[bool] = True

    sent: str | None = None
    raw: str | None = None

    def check(self) -> None:
        if self.sent is None and self.raw is None:
            raise ValueError("raw is missing, and so is sent; expected text in one of them")

    @property
    def text(self) -> str:
        return (self.raw or "" if self.sent is None else self.sent).strip()


@dataclass(frozen=True)
class _Ref:
    extra_keys: ClassVar[bool] = True

    split: str
    image_id: Id
    ann_id: int | str | tuple[Id, ...]
    sentences: tuple[_Sentence, ...]
    no_target: Any = None

    @property
    def ids(self) -> tuple[Id, ...]:
        """The annotations that it names; none where the phrase names nothing in the image (gRefCOCO)."""
        ids = self.ann_id if isinstance(self.ann_id, tuple) else (self.ann_id,)
        return () if self.no_target or ids == (-1,) else ids


@dataclass(frozen=True)
class _Annotation:
    extra_keys: ClassVar[bool] = True

    id: Id
    segmentation: Any = None  # read when a sentence is about it, by parse_segmentation


@dataclass(frozen=True)
class _Instances:
    extra_keys: ClassVar[bool] = True

    images: tuple[ImageRecord, ...]
    annotations: tuple[_Annotation, ...]


def open_refcoco(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The referring expressions of a folder for one split, and the splits that it holds.

    Raises InputError for a file that is damaged, for a pickle of more than plain values, and for missing images.
    """
    path = _refs_file(root)
    if path is None:
        return [], []
    refs = [(record, f"{path}: [{index}]") for index, record in enumerate(_read_refs(path))]
    splits = sorted({record.split for record, _ in refs})
    chosen = choose_split(splits, split, path) if refs else None
    if chosen is None:
        return [], splits
    refs = [(record, where) for record, where in refs if record.split == chosen]
    return [_read(root, path, refs, chosen)], splits


def _refs_file(root: Path) -> Path | None:
    for name in (f"{stem}{partition}" for stem in ("refs", "grefs") for partition in _PARTITIONS):
        files = [path for end in (".json", ".p") if (path := root / f"{name}{end}").is_file()]
        if files:
            return next((path for path in files if path.stat().st_size), files[0])
    return None


def _read_refs(path: Path) -> tuple[_Ref, ...]:
    if path.suffix == ".json":
        return read_annotations(path, tuple[_Ref, ...])
    return from_json(tuple[_Ref, ...], read_plain_pickle(path), str(path), advice=ADVICE)


def _read(root: Path, path: Path, refs: Sequence[tuple[_Ref, str]], split: str) -> AnnotationFile:
    instances = root / "instances.json"
    data = read_annotations(instances, _Instances)
    images = by_id(data.images, f"{instances}: images")
    annotations = by_id(data.annotations, f"{instances}: annotations")
    places = {record.id: index for index, record in enumerate(data.annotations)}
    parsed: dict[Id, CocoSegmentation] = {}
    phrases: dict[Id, dict[tuple[Any, ...], Phrase]] = {}
    for record, where in refs:
        if record.image_id not in images:
            raise InputError(f"{where}: image_id {record.image_id!r} is not among the images of {instances}")
        ids = record.ids
        for annotation in ids:
            if annotation not in annotations:
                raise InputError(f"{where}: ann_id {annotation!r} is not among the annotations of {instances}")
            if annotation not in parsed:
                place = f"{instances}: annotations[{places[annotation]}].segmentation"
                source = annotations[annotation].segmentation
                parsed[annotation] = parse_segmentation(source, place, images[record.image_id].size)
        if any(parsed[annotation].is_empty for annotation in ids):
            continue
        size = images[record.image_id].size
        mask = partial(_union, tuple(parsed[annotation] for annotation in ids), size) if ids else None
        several = isinstance(record.ann_id, tuple)
        of_image = phrases.setdefault(record.image_id, {})
        for text in filter(None, (sentence.text for sentence in record.sentences)):
            of_image.setdefault((ids, text.lower()), Phrase("refer", text, mask, several=several))
    without_outline = sum(segmentation.is_empty for segmentation in parsed.values())
    if not any(phrases.values()):
        besides = f" whose annotation has an outline ({without_outline} have none)" if without_outline else ""
        raise InputError(f"{path} has no sentence for the split {split}{besides}")
    folders = [
        folder / name
        for folder in (root, root.parent, root.parent / "images" / "mscoco")
        for name in ("images/train2014", "train2014", "images", ".")
    ]
    folder = find_folder([images[image].file_name for image in phrases], folders, f"{instances}: its images")
    entries = [
        Entry(folder / images[image].file_name, images[image].size, {"refer": partial(_asks, tuple(of_image.values()))})
        for image, of_image in phrases.items()
        if of_image
    ]
    facts = {"file": str(path), "images": str(folder), "split": split}
    return AnnotationFile("RefCOCO", tuple(entries), facts, without_outline)


def _union(parts: Sequence[CocoSegmentation], size: Size) -> BoolMask:
    mask = np.zeros(size, bool)
    for part in parts:
        mask |= part.mask(size)
    return mask


def _asks(phrases: tuple[Phrase, ...]) -> Sequence[Ask]:
    return phrases
