"""RefCOCO folders: ``refs*.json`` or ``grefs*.json`` (gRefCOCO) beside ``instances.json``.

The data are published as pickles, ``refs(unc).p``. A pickle runs code when it is read and is refused; its records are
plain values, so that it can be converted once. Every distinct sentence of an annotation is asked for once,
whatever its capitals, as the official ``ImgRefSegDataset`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import (
    Size,
    choose_split,
    field,
    file_name,
    find_folder,
    identifier,
    picture_size,
    read_json,
)
from xsam_edge.calibration.data.masks import Segmentation, parse_segmentation
from xsam_edge.calibration.data.samples import Ask, BoolMask, Phrase
from xsam_edge.runtime.errors import InputError

# Where several partitions lie in one folder, the ones that the literature reports.
_PARTITIONS = ("(unc)", "(umd)", "", "(google)")
_CONVERT = "python -c 'import json,pickle,sys; json.dump(pickle.load(open(sys.argv[1],\"rb\")), sys.stdout)'"


def open_refcoco(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The referring expressions of a folder for one split, and the splits that it holds.

    Raises InputError for a pickle without a JSON file, for a file that is damaged, and for missing images.
    """
    path = _refs_file(root)
    if path is None:
        return [], []
    refs = [(record, f"{path}: record {index}") for index, record in enumerate(read_json(path, list))]
    splits = sorted({field(record, "split", str, where) for record, where in refs})
    chosen = choose_split(splits, split, path) if refs else None
    if chosen is None:
        return [], splits
    refs = [(record, where) for record, where in refs if record["split"] == chosen]
    return [_read(root, path, refs, chosen)], splits


def _refs_file(root: Path) -> Path | None:
    for name in (f"{stem}{partition}" for stem in ("refs", "grefs") for partition in _PARTITIONS):
        if (root / f"{name}.json").is_file():
            return root / f"{name}.json"
    pickles = sorted([*root.glob("refs*.p"), *root.glob("grefs*.p")])
    if pickles:
        name = pickles[0].name
        raise InputError(
            f"{pickles[0]} is a pickle, which runs code when it is read; if you trust where it came from, convert it "
            f"once: {_CONVERT} '{name}' > '{pickles[0].stem}.json'"
        )
    return None


def _read(root: Path, path: Path, refs: Sequence[tuple[Any, str]], split: str) -> AnnotationFile:
    instances = root / "instances.json"
    data = read_json(instances, dict)
    images: dict[int | str, tuple[str, Size]] = {}
    for index, record in enumerate(field(data, "images", list, str(instances))):
        where = f"{instances}: image {index}"
        name = file_name(record, "file_name", where)
        images[identifier(record, "id", where)] = name, picture_size(record, where)
    annotations = {
        identifier(record, "id", f"{instances}: annotation {index}"): (record, f"{instances}: annotation {index}")
        for index, record in enumerate(field(data, "annotations", list, str(instances)))
    }
    parsed: dict[int | str, Segmentation] = {}
    phrases: dict[int | str, dict[tuple[Any, ...], Phrase]] = {}
    for record, where in refs:
        image = identifier(record, "image_id", where)
        if image not in images:
            raise InputError(f"{where}: image_id {image!r} is not among the images of {instances}")
        ids = _annotation_ids(record, where)
        for annotation in ids:
            if annotation not in annotations:
                raise InputError(f"{where}: ann_id {annotation!r} is not among the annotations of {instances}")
            if annotation not in parsed:
                source, named = annotations[annotation]
                parsed[annotation] = parse_segmentation(source.get("segmentation"), named)
        mask = partial(_union, tuple(parsed[annotation] for annotation in ids), images[image][1]) if ids else None
        several = isinstance(record["ann_id"], list)
        asked = phrases.setdefault(image, {})
        for text in _sentences(record, where):
            asked.setdefault((ids, text.lower()), Phrase("refer", text, mask, several=several))
    if not any(phrases.values()):
        raise InputError(f"{path} has no sentence for the split {split}")
    folders = [
        folder / name
        for folder in (root, root.parent, root.parent / "images" / "mscoco")
        for name in ("images/train2014", "train2014", "images", ".")
    ]
    folder = find_folder([images[image][0] for image in phrases], folders, f"{instances}: its images")
    entries = [
        Entry(folder / images[image][0], images[image][1], {"refer": partial(_asks, tuple(asked.values()))})
        for image, asked in phrases.items()
        if asked
    ]
    facts = {"file": str(path), "images": str(folder), "split": split}
    return AnnotationFile("RefCOCO", tuple(entries), facts)


def _annotation_ids(record: Any, where: str) -> tuple[int | str, ...]:
    """The annotations that a record names; none where the phrase names nothing in the image (gRefCOCO)."""
    value = record.get("ann_id") if isinstance(record, dict) else None
    several = value if isinstance(value, list) else [value]
    ids = tuple(identifier({"ann_id": item}, "ann_id", where) for item in several)
    return () if record.get("no_target") or ids == (-1,) else ids


def _sentences(record: Any, where: str) -> Sequence[str]:
    texts = []
    for sentence in field(record, "sentences", list, where):
        key = "sent" if isinstance(sentence, dict) and "sent" in sentence else "raw"
        text = field(sentence, key, str, f"{where}: a sentence").strip()
        if text:
            texts.append(text)
    return texts


def _union(parts: Sequence[Segmentation], size: Size) -> BoolMask:
    mask = np.zeros(size, bool)
    for part in parts:
        mask |= part.mask(size)
    return mask


def _asks(phrases: tuple[Phrase, ...]) -> Sequence[Ask]:
    return phrases
