"""Opening a folder in any of the common formats; one folder may hold several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from xsam_edge.calibration.data.coco import open_coco
from xsam_edge.calibration.data.entries import AnnotationFile, FolderData
from xsam_edge.calibration.data.gcg import open_captions
from xsam_edge.calibration.data.reasonseg import open_reasonseg
from xsam_edge.calibration.data.refcoco import open_refcoco
from xsam_edge.runtime.errors import InputError

Opener = Callable[[Path, "str | None"], "tuple[list[AnnotationFile], list[str]]"]

_LAYOUTS = (
    "COCO (annotations/panoptic_*.json, annotations/instances_*.json), RefCOCO (refs*.p or refs*.json with "
    "instances.json), ReasonSeg (val/NAME.jpg with val/NAME.json), GranD-f captions (*_gcg_coco_mask_gt.json with "
    "*_gcg_coco_caption_gt.json, or a JSON list with 'groundings')"
)


class UnknownLayoutError(InputError):
    """A folder that holds no data set in a known format."""


def open_folder(folder: Path, split: str | None = None) -> FolderData:
    """Open every data set that lies in a folder.

    Args:
        folder: in one of the layouts that ``coco``, ``refcoco``, ``reasonseg`` and ``gcg`` describe.
        split: of each format; by default "val", or the only one.

    Raises:
        UnknownLayoutError: no such format.
        InputError: no folder, no such split, or a file that cannot be used.
        XSamError: polygons, without pycocotools to draw them.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    refers, ref_splits = open_refcoco(folder, split)
    # An instances.json beside referring expressions belongs to them.
    openers: tuple[Opener, ...] = (partial(open_coco, untagged=not ref_splits), open_reasonseg, open_captions)
    files, splits = refers, set(ref_splits)
    for opener in openers:
        opened, held = opener(folder, split)
        files += opened
        splits.update(held)
    if not files and splits:
        raise InputError(f"{folder} has no split {split!r}; it holds {', '.join(sorted(splits))}")
    if not files:
        raise UnknownLayoutError(f"{folder} holds no data set that is known; expected {_LAYOUTS}")
    return FolderData(str(folder), folder, files)
