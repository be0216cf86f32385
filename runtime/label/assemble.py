"""From the journal to the files: read once, in the order of the pictures, and put in their place when all are whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xsam_edge.runtime.label.categories import Category
from xsam_edge.runtime.label.formats.coco import Instances, Panoptic
from xsam_edge.runtime.label.formats.parquet import Parquet
from xsam_edge.runtime.label.formats.writer import DataSet, Writer
from xsam_edge.runtime.label.formats.yolo import Yolo
from xsam_edge.runtime.label.journal import Journal
from xsam_edge.runtime.label.look import SHEET, spread, write_sheet
from xsam_edge.runtime.label.pictures import Pictures
from xsam_edge.runtime.label.records import Picture, picture_of
from xsam_edge.runtime.label.review import REVIEW, Review
from xsam_edge.runtime.progress import Progress, Step, silent

DAMAGED = "damaged.jsonl"
_STAGE, _OLD = ".part", ".old"

FORMATS: Mapping[str, Callable[[Path, DataSet], Writer]] = {
    "coco": Instances,
    "panoptic": Panoptic,
    "yolo": Yolo,
    "parquet": Parquet,
}


@dataclass(frozen=True)
class Summary:
    """What was written: counts, those of segments by category, and names of files and folders in the output."""

    pictures: int
    damaged: int
    segments: Mapping[str, int]
    approximate: int
    files: tuple[str, ...]


def assemble(
    folder: Path,
    journal: Journal,
    pictures: Pictures,
    data: DataSet,
    becomes: Mapping[str, Category],
    formats: Sequence[str],
    progress: Progress = silent,
) -> Summary:
    """Write the files of an output folder anew.

    Args:
        folder: of the output.
        journal: with a record of each picture.
        pictures: those that were labelled.
        data: what holds for all.
        becomes: the category of each name in the journal.
        formats: of :data:`FORMATS`.
        progress: is told the pictures that are written.

    Raises:
        ModuleNotFoundError: Parquet without pyarrow.
        OSError: no room, say; files that were there before are as they were.
    """
    stage = folder / _STAGE
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        summary = _write(stage, journal, pictures, data, becomes, formats, progress)
        _exchange(stage, folder)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror or str(error), error.filename or str(folder)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return summary


def _write(
    stage: Path,
    journal: Journal,
    pictures: Pictures,
    data: DataSet,
    becomes: Mapping[str, Category],
    formats: Sequence[str],
    progress: Progress,
) -> Summary:
    writers = [FORMATS[name](stage, data) for name in dict.fromkeys(formats)]
    review, sheet, approximate = Review(data.categories), list[Picture](), 0
    done = journal.done
    wanted = spread(done)
    with open(stage / DAMAGED, "x", encoding="ascii") as damaged:
        for place, record in journal.records():
            if "error" in record:
                damaged.write(json.dumps(record) + "\n")
                continue
            picture = picture_of(record, place + 1, pictures.path(record["picture"]), becomes)
            for writer in writers:
                writer.add(picture)
            if review.count in wanted:
                sheet.append(picture)
            review.add(picture)
            approximate += picture.parts > 1
            progress(Step("write", review.count, done, "pictures"))
    for writer in writers:
        writer.close()
    if not journal.damaged:
        (stage / DAMAGED).unlink()
    progress(Step("write", done, done, "pictures", REVIEW))
    write_sheet(stage / SHEET, sheet)
    review.write(stage / REVIEW, journal.damaged)
    segments = {category.name: review.tally.segments[category.id] for category in data.categories}
    files = tuple(sorted(entry.name for entry in stage.iterdir()))
    return Summary(review.count, journal.damaged, segments, approximate, files)


def _exchange(stage: Path, folder: Path) -> None:
    """Put what was written in the place of what was there before."""
    old = folder / _OLD
    shutil.rmtree(old, ignore_errors=True)
    entries = sorted(stage.iterdir())
    for entry in entries:
        place = folder / entry.name
        if entry.is_dir() and place.exists():
            old.mkdir(exist_ok=True)
            place.rename(old / entry.name)
        os.replace(entry, place)
    if not any(entry.name == DAMAGED for entry in entries):
        (folder / DAMAGED).unlink(missing_ok=True)
    shutil.rmtree(old, ignore_errors=True)
