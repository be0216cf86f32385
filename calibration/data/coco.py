"""COCO folders: ``panoptic_*.json`` with PNGs of segment ids, and ``instances_*.json``.

The annotation files lie in ``annotations/`` or in the folder itself, images in ``val2017/``, ``images/val2017/``,
``images/`` or in the folder itself. A panoptic file gives ``panoptic`` and ``semantic``, an instances file
``instances``; ``regions`` are made from instances, or from panoptic things where there is no such file.

Tools of COCO, RefCOCO and GranD-f read pixels as they are stored: an EXIF orientation is applied only where it takes
that to give an image the size that its annotations are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.entries import AnnotationFile, Entry, MakeAsks
from xsam_edge.calibration.data.files import (
    Flag,
    Id,
    ImageRecord,
    Size,
    by_id,
    choose_split,
    find_folder,
    open_picture,
    read_annotations,
)
from xsam_edge.calibration.data.masks import parse_segmentation
from xsam_edge.calibration.data.region_asks import Instance, region_asks
from xsam_edge.calibration.data.samples import Ask, BoolMask, Categories, Task, TrueSegment
from xsam_edge.runtime.bundle.constraints import NOT_EMPTY, FileName, at_least
from xsam_edge.runtime.errors import InputError

_FOLDERS = ("annotations", ".")


@dataclass(frozen=True)
class _Category:
    extra_keys: ClassVar[bool] = True

    id: Id
    name: str


@dataclass(frozen=True)
class _PanopticCategory(_Category):
    isthing: int


@dataclass(frozen=True)
class _Annotation:
    extra_keys: ClassVar[bool] = True

    image_id: Id
    category_id: Id
    segmentation: Any = None  # read when it is known to be used, by parse_segmentation
    iscrowd: Flag = False
    area: Annotated[float, at_least(0)] | None = None


@dataclass(frozen=True)
class _InstancesFile:
    extra_keys: ClassVar[bool] = True

    images: Annotated[tuple[ImageRecord, ...], NOT_EMPTY]
    annotations: tuple[_Annotation, ...]
    categories: Annotated[tuple[_Category, ...], NOT_EMPTY]


@dataclass(frozen=True)
class _Segment:
    extra_keys: ClassVar[bool] = True

    id: int
    category_id: Id
    iscrowd: Flag = False


@dataclass(frozen=True)
class _PanopticAnnotation:
    extra_keys: ClassVar[bool] = True

    image_id: Id
    file_name: FileName
    segments_info: tuple[_Segment, ...]


@dataclass(frozen=True)
class _PanopticFile:
    extra_keys: ClassVar[bool] = True

    images: Annotated[tuple[ImageRecord, ...], NOT_EMPTY]
    annotations: tuple[_PanopticAnnotation, ...]
    categories: Annotated[tuple[_PanopticCategory, ...], NOT_EMPTY]


@dataclass(frozen=True)
class _Names:
    """Categories in the order in which they are asked for, things first; ``labels`` are indices by the file's ids."""

    names: tuple[str, ...]
    things: int
    labels: Mapping[Id, int]

    def label(self, record: _Annotation | _Segment, where: str) -> int:
        """The index of a record's category."""
        if record.category_id not in self.labels:
            raise InputError(f"{where}: category_id {record.category_id!r} is not among the file's categories")
        return self.labels[record.category_id]


def _names(things: Sequence[_Category], stuff: Sequence[_Category]) -> _Names:
    every = [*things, *stuff]
    labels = {category.id: label for label, category in enumerate(every)}
    return _Names(tuple(category.name for category in every), len(things), labels)


def open_coco(root: Path, split: str | None, *, untagged: bool = True) -> tuple[list[AnnotationFile], list[str]]:
    """The COCO annotation files of a folder for one split, and the splits that it holds.

    ``untagged`` also takes ``instances.json`` and ``panoptic.json``, whose names tell no split.

    Raises InputError for a file that is damaged, names unknown images or categories, or lacks its PNGs or images.
    """
    panoptic, instances = _files(root, "panoptic", untagged), _files(root, "instances", untagged)
    sources = []
    for kind, files in (("panoptic", panoptic), ("instances", instances)):
        tag = choose_split(list(files), split, root) if files else None
        if tag is not None and kind == "panoptic":
            sources.append(_open_panoptic(root, files[tag], tag, regions=not instances))
        elif tag is not None:
            sources.append(_open_instances(root, files[tag], tag))
    return sources, sorted({*panoptic, *instances})


def _files(root: Path, kind: Literal["panoptic", "instances"], untagged: bool) -> dict[str, Path]:
    """Annotation files by what follows ``kind_`` in their names ("" for ``kind.json``)."""
    files: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).glob(f"{kind}*.json")):
            rest = path.stem.removeprefix(kind)
            if rest[0] in "_-" if rest else untagged:
                files.setdefault(rest[1:], path)
    return files


def _open_instances(root: Path, path: Path, tag: str) -> AnnotationFile:
    data = read_annotations(path, _InstancesFile)
    names = _names(data.categories, ())
    images = by_id(data.images, f"{path}: images")
    folder = _image_folder(root, path, tag, data.images)
    truths: dict[Id, list[Instance]] = {image: [] for image in images}
    without_outline = 0
    for index, record in enumerate(data.annotations):
        where = f"{path}: annotations[{index}]"
        image = _image_of(record, images, where)
        label = names.label(record, where)
        segmentation = parse_segmentation(record.segmentation, f"{where}.segmentation", image.size)
        if segmentation.is_empty:
            without_outline += 1
            continue
        mask = partial(segmentation.mask, image.size)
        truths[image.id].append(Instance(mask, label, bool(record.iscrowd), record.area))
    entries = []
    for image in images.values():
        truth = tuple(truths[image.id])
        asks: dict[Task, MakeAsks] = {"instances": partial(_categories_ask, "instances", names, truth)}
        entries.append(Entry(folder / image.file_name, image.size, asks | _region_asks(truth)))
    facts = {"file": str(path), "images": str(folder), "split": tag}
    return AnnotationFile("COCO instances", tuple(entries), facts, without_outline)


def _open_panoptic(root: Path, path: Path, tag: str, *, regions: bool) -> AnnotationFile:
    data = read_annotations(path, _PanopticFile)
    things = [category for category in data.categories if category.isthing == 1]
    names = _names(things, [category for category in data.categories if category.isthing != 1])
    images = by_id(data.images, f"{path}: images")
    folder = _image_folder(root, path, tag, data.images)
    beside = [path.with_suffix(""), root / path.stem, path.parent / path.stem.removeprefix("panoptic_")]
    hint = f" (unpack {path.stem}.zip)" if path.with_suffix(".zip").exists() else ""
    maps = [record.file_name for record in data.annotations]
    map_folder = find_folder(maps, beside, f"{path}: its PNG files{hint}")
    entries = []
    for index, record in enumerate(data.annotations):
        where = f"{path}: annotations[{index}]"
        image = _image_of(record, images, where)
        truth = tuple(_panoptic_segments(record, where, map_folder / record.file_name, image.size, names))
        asks: dict[Task, MakeAsks] = {
            "panoptic": partial(_categories_ask, "panoptic", names, truth),
            "semantic": partial(_categories_ask, "semantic", names, truth),
        }
        if regions:
            asks |= _region_asks([item for item in truth if item.label < names.things])
        entries.append(Entry(folder / image.file_name, image.size, asks))
    facts = {"file": str(path), "images": str(folder), "maps": str(map_folder), "split": tag}
    return AnnotationFile("COCO panoptic", tuple(entries), facts)


def _image_of(record: _Annotation | _PanopticAnnotation, images: Mapping[Id, ImageRecord], where: str) -> ImageRecord:
    if record.image_id not in images:
        raise InputError(f"{where}: image_id {record.image_id!r} is not among the file's images")
    return images[record.image_id]


def _panoptic_segments(
    record: _PanopticAnnotation, where: str, path: Path, size: Size, names: _Names
) -> Iterator[Instance]:
    ids = tuple(item.id for item in record.segments_info)
    for index, item in enumerate(record.segments_info):
        label = names.label(item, f"{where}.segments_info[{index}]")
        yield Instance(partial(_panoptic_mask, path, size, ids, item.id), label, bool(item.iscrowd))


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
    segments = tuple(TrueSegment(item.mask, item.label, item.is_crowd, item.area) for item in truth)
    return [Categories(task, names.names, names.things, segments)]


def _region_asks(truth: Sequence[Instance]) -> dict[Task, MakeAsks]:
    return {"regions": partial(region_asks, truth)} if any(not item.is_crowd for item in truth) else {}


def _image_folder(root: Path, path: Path, tag: str, images: Sequence[ImageRecord]) -> Path:
    folders = [root / tag, root / "images" / tag, root / "images", root, path.parent]
    return find_folder([image.file_name for image in images], folders, f"{path}: its images")
