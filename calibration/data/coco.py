"""COCO folders: ``panoptic_*.json`` with PNGs of segment ids, and ``instances_*.json``.

The annotation files lie in ``annotations/`` or in the folder itself, images in ``val2017/``, ``images/val2017/``,
``images/`` or in the folder itself. A panoptic file gives ``panoptic`` and ``semantic``, an instances file
``instances``; ``regions`` are made from instances, or from panoptic things where there is no such file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.entries import AnnotationFile, Entry, MakeAsks
from xsam_edge.calibration.data.files import (
    Size,
    choose_split,
    field,
    file_name,
    find_folder,
    flag,
    identifier,
    open_picture,
    picture_size,
    read_json,
)
from xsam_edge.calibration.data.masks import parse_segmentation
from xsam_edge.calibration.data.region_asks import Instance, region_asks
from xsam_edge.calibration.data.samples import Ask, BoolMask, Categories, Task, TrueSegment
from xsam_edge.runtime.errors import InputError

_FOLDERS = ("annotations", ".")


@dataclass(frozen=True)
class _Names:
    """Categories in the order in which they are asked for, things first; ``labels`` are indices by the file's ids."""

    names: tuple[str, ...]
    things: int
    labels: Mapping[int | str, int]

    def label(self, record: Any, where: str) -> int:
        """The index of a record's ``category_id``."""
        category = identifier(record, "category_id", where)
        if category not in self.labels:
            raise InputError(f"{where}: category_id {category!r} is not among the file's categories")
        return self.labels[category]


def open_coco(root: Path, split: str | None, *, untagged: bool = True) -> tuple[list[AnnotationFile], list[str]]:
    """The COCO annotation files of a folder for one split, and the splits that it holds.

    ``untagged`` also takes ``instances.json`` and ``panoptic.json``, whose names tell no split.

    Raises InputError for a file that is damaged, names unknown images or categories, or lacks its PNGs or images.
    """
    panoptic, instances = _files(root, "panoptic", untagged), _files(root, "instances", untagged)
    sources = []
    for kind, found in (("panoptic", panoptic), ("instances", instances)):
        tag = choose_split(list(found), split, root) if found else None
        if tag is not None and kind == "panoptic":
            sources.append(_open_panoptic(root, found[tag], tag, regions=not instances))
        elif tag is not None:
            sources.append(_open_instances(root, found[tag], tag))
    return sources, sorted({*panoptic, *instances})


def _files(root: Path, kind: Literal["panoptic", "instances"], untagged: bool) -> dict[str, Path]:
    """Annotation files by what follows ``kind_`` in their names ("" for ``kind.json``)."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).glob(f"{kind}*.json")):
            rest = path.stem.removeprefix(kind)
            if rest[0] in "_-" if rest else untagged:
                found.setdefault(rest[1:], path)
    return found


def _open_instances(root: Path, path: Path, tag: str) -> AnnotationFile:
    data = read_json(path, dict)
    names = _categories(data, path, panoptic=False)
    images = _images(data, path)
    folder = _image_folder(root, path, tag, [name for name, _ in images.values()])
    found: dict[int | str, list[Instance]] = {image: [] for image in images}
    for index, record in enumerate(field(data, "annotations", list, str(path))):
        where = f"{path}: annotation {index}"
        image = identifier(record, "image_id", where)
        if image not in images:
            raise InputError(f"{where}: image_id {image!r} is not among the file's images")
        segmentation = parse_segmentation(record.get("segmentation"), where)
        mask = partial(segmentation.mask, images[image][1])
        found[image].append(Instance(mask, names.label(record, where), flag(record, "iscrowd", where)))
    entries = []
    for image, (name, size) in images.items():
        truth = tuple(found[image])
        asks: dict[Task, MakeAsks] = {"instances": partial(_categories_ask, "instances", names, truth)}
        entries.append(Entry(folder / name, size, asks | _region_asks(truth)))
    facts = {"file": str(path), "images": str(folder), "split": tag}
    return AnnotationFile("COCO instances", tuple(entries), facts)


def _open_panoptic(root: Path, path: Path, tag: str, *, regions: bool) -> AnnotationFile:
    data = read_json(path, dict)
    names = _categories(data, path, panoptic=True)
    images = _images(data, path)
    folder = _image_folder(root, path, tag, [name for name, _ in images.values()])
    annotations = [
        (record, f"{path}: annotation {index}")
        for index, record in enumerate(field(data, "annotations", list, str(path)))
    ]
    maps = [file_name(record, "file_name", where) for record, where in annotations]
    beside = [path.with_suffix(""), root / path.stem, path.parent / path.stem.removeprefix("panoptic_")]
    hint = f" (unpack {path.stem}.zip)" if path.with_suffix(".zip").exists() else ""
    map_folder = find_folder(maps, beside, f"{path}: its PNG files{hint}")
    entries = []
    for (record, where), map_name in zip(annotations, maps, strict=True):
        image = identifier(record, "image_id", where)
        if image not in images:
            raise InputError(f"{where}: image_id {image!r} is not among the file's images")
        name, size = images[image]
        truth = tuple(_panoptic_segments(record, where, map_folder / map_name, size, names))
        asks: dict[Task, MakeAsks] = {
            "panoptic": partial(_categories_ask, "panoptic", names, truth),
            "semantic": partial(_categories_ask, "semantic", names, truth),
        }
        if regions:
            asks |= _region_asks([item for item in truth if item.label < names.things])
        entries.append(Entry(folder / name, size, asks))
    facts = {"file": str(path), "images": str(folder), "maps": str(map_folder), "split": tag}
    return AnnotationFile("COCO panoptic", tuple(entries), facts)


def _panoptic_segments(record: Any, where: str, path: Path, size: Size, names: _Names) -> Iterator[Instance]:
    segments = field(record, "segments_info", list, where)
    ids = tuple(field(item, "id", int, where) for item in segments)
    for item, number in zip(segments, ids, strict=True):
        mask = partial(_panoptic_mask, path, size, ids, number)
        yield Instance(mask, names.label(item, where), flag(item, "iscrowd", where))


def _panoptic_mask(path: Path, size: Size, ids: tuple[int, ...], number: int) -> BoolMask:
    return np.asarray(_segment_ids(path, size, ids) == number)


@lru_cache(maxsize=2)  # the segments of a picture are asked for one after the other
def _segment_ids(path: Path, size: Size, ids: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """The ids of a panoptic PNG, R + 256 G + 65,536 B, int32 [H, W], 0 = void."""
    try:
        image = open_picture(path, size)
    except OSError as error:
        raise InputError(f"the panoptic map {error}") from None
    pixels = np.asarray(image).astype(np.int32)
    numbers: npt.NDArray[np.int32] = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    if unknown := set(np.unique(numbers).tolist()) - {0, *ids}:
        raise InputError(f"{path} holds the segment id {min(unknown)}, which its annotation does not list")
    numbers.setflags(write=False)
    return numbers


def _categories_ask(
    task: Literal["panoptic", "semantic", "instances"], names: _Names, truth: Sequence[Instance]
) -> Sequence[Ask]:
    segments = tuple(TrueSegment(item.mask, item.label, item.is_crowd) for item in truth)
    return [Categories(task, names.names, names.things, segments)]


def _region_asks(truth: Sequence[Instance]) -> dict[Task, MakeAsks]:
    return {"regions": partial(region_asks, truth)} if any(not item.is_crowd for item in truth) else {}


def _categories(data: dict[str, Any], path: Path, *, panoptic: bool) -> _Names:
    things: list[tuple[int | str, str]] = []
    stuff: list[tuple[int | str, str]] = []
    for index, record in enumerate(field(data, "categories", list, str(path))):
        where = f"{path}: category {index}"
        named = identifier(record, "id", where), field(record, "name", str, where)
        is_thing = not panoptic or field(record, "isthing", int, where) == 1
        (things if is_thing else stuff).append(named)
    if not things and not stuff:
        raise InputError(f"{path} has no categories")
    labels = {category: label for label, (category, _) in enumerate(things + stuff)}
    return _Names(tuple(name for _, name in things + stuff), len(things), labels)


def _images(data: dict[str, Any], path: Path) -> dict[int | str, tuple[str, Size]]:
    images = {}
    for index, record in enumerate(field(data, "images", list, str(path))):
        where = f"{path}: image {index}"
        image = identifier(record, "id", where)
        images[image] = file_name(record, "file_name", where), picture_size(record, where)
    if not images:
        raise InputError(f"{path} has no images")
    return images


def _image_folder(root: Path, path: Path, tag: str, names: Sequence[str]) -> Path:
    folders = [root / tag, root / "images" / tag, root / "images", root, path.parent]
    return find_folder(names, folders, f"{path}: its images")
