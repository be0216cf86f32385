"""Grounded captions in the forms of GranD-f: the files of a folder, with their images.

``val_gcg_coco_mask_gt.json`` with ``val_gcg_coco_caption_gt.json``, by which GCG is evaluated, is taken before other
files of its split. What each form holds stands in ``gcg_records``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from xsam_edge.calibration.data import gcg_records
from xsam_edge.calibration.data.entries import AnnotationFile, Entry
from xsam_edge.calibration.data.files import Size, choose_split, find_folder, picture_size
from xsam_edge.calibration.data.gcg_records import Captioned, Grounded, Reader
from xsam_edge.calibration.data.masks import CocoSegmentation
from xsam_edge.calibration.data.samples import Ask, BoolMask, Caption
from xsam_edge.runtime.errors import InputError

_SNIFFED = 1 << 20  # bytes of a file by which its format is told
_FOLDERS = (".", "annotations", "annotations/train", "annotations/val_test", "train", "val_test")
_IMAGES = (
    "images", "images/{split}", "{split}", "GranDf_HA_images/val_test", "images/GranDf_HA_images/val_test",
    "GranDf_HA_images/train", "images/GranDf_HA_images/train", "val_test", "train2017", "val2017", "images/train2017",
    "coco2017/train2017", "images/coco2017/train2017", "coco2017", "images/coco2017", "train2014", "images/train2014",
    "coco2014/train2014", "images/coco2014/train2014", "flickr30k/images/train", "images/flickr30k/images/train", ".",
)  # fmt: skip
_SPLITS = ("train", "val", "test")
_PAIR = "_gcg_coco_mask_gt"


def open_captions(root: Path, split: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """The grounded captions of a folder for one split, and the splits that it holds.

    A file's split is the end of its name, as in ``OpenPsgGCG_val.json``, or the beginning of the official pair's.

    Raises:
        InputError: a file that is damaged, two of one split, or missing images.
        XSamError: polygons, without pycocotools to draw them.
    """
    splits: dict[str, list[tuple[Path, Reader]]] = {}
    for path in (path for folder in _FOLDERS for path in sorted((root / folder).glob("*.json"))):
        if read := _reader(path):
            splits.setdefault(_split(path), []).append((path, read))
    chosen = choose_split(list(splits), split, root) if splits else None
    if chosen is None:
        return [], list(splits)
    files = sorted(splits[chosen], key=lambda item: item[1] is not gcg_records.read_pair)
    path, read = files[0]
    if len(files) > 1 and read is not gcg_records.read_pair:
        raise InputError(
            f"{root} holds captions for {chosen} in {path.name} and in {files[1][0].name}; leave one there"
        )
    captions = read(path)
    records = [record for record in captions.records if record.phrases]
    if not records:
        raise InputError(f"{path} has no phrase with a mask")
    names = [name.format(split=chosen) for name in _IMAGES]
    folders = [above / name for above in (root, root.parent) for name in names if above == root or "HA_images" in name]
    folder = find_folder([record.file_name for record in records], folders, f"{path}: its images")
    entries = tuple(_entry(folder / record.file_name, record) for record in records)
    facts = {"file": str(path), "images": str(folder), "split": chosen}
    notes: tuple[str, ...] = ()
    if read is gcg_records.read_pair:
        facts["captions"] = str(gcg_records.captions_beside(path))
        if count := captions.unpaired:
            have, were = ("image has", "was") if count == 1 else ("images have", "were")
            notes = (f"{path}: {count} {have} another number of masks than of phrases and {were} left out",)
    return [AnnotationFile("GranD-f captions", entries, facts, captions.without_outline, notes)], list(splits)


def _reader(path: Path) -> Reader | None:
    """What reads a file; None for one that holds no grounded captions."""
    if path.stem.endswith(_PAIR):
        return gcg_records.read_pair
    if path.stem.startswith("flickr") and "GCG" in path.stem:
        return gcg_records.read_flickr
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    if not head.lstrip().startswith(b"[") or b'"caption"' not in head:
        return None
    if b'"groundings"' in head:
        return gcg_records.read_groundings
    return gcg_records.read_refs if b'"img_file_name"' in head and b'"refs"' in head else None


def _split(path: Path) -> str:
    if path.stem.endswith(_PAIR):
        return path.stem.removesuffix(_PAIR)
    last = path.stem.replace("-", "_").split("_")[-1]
    return last if last in _SPLITS else path.stem


def _entry(image: Path, record: Captioned) -> Entry:
    make = partial(_asks, image, record.size, record.caption, record.phrases)
    return Entry(image, record.size, {"captions": make})


def _asks(image: Path, size: Size | None, text: str, phrases: Sequence[Grounded]) -> Sequence[Ask]:
    masks = tuple(partial(_mask, image, size, segmentation) for _, segmentation in phrases)
    return [Caption(text, tuple(phrase for phrase, _ in phrases), masks)]


def _mask(image: Path, size: Size | None, segmentation: CocoSegmentation) -> BoolMask:
    return segmentation.mask(size or picture_size(image))
