"""What ``--calibration-data`` names: pictures to calibrate on, with a few asks each, and pictures held out.

A source is a registered generator, a folder of annotated images, a folder of any images, or a JSONL file. Whatever it
is, pictures are made when they are asked for, by their number: a run that goes on reads nothing twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from xsam_edge.calibration.data.folder import UnknownLayoutError
from xsam_edge.calibration.data.jsonl import open_jsonl
from xsam_edge.calibration.data.plain_images import open_images
from xsam_edge.calibration.data.prompt_source import PromptSource, content_hash, pick_asks
from xsam_edge.calibration.data.samples import Caption, Categories, DataSet, Phrase, Picture, Regions
from xsam_edge.calibration.open_data import NAMED, open_data
from xsam_edge.runtime.errors import InputError


class Pictures(Sequence[Picture]):
    """Pictures that are made when they are asked for."""

    def __init__(self, make: Callable[[int], Picture], numbers: range) -> None:
        self._make, self._numbers = make, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Picture: ...

    @overload
    def __getitem__(self, index: slice) -> Pictures: ...

    def __getitem__(self, index: int | slice) -> Picture | Pictures:
        if isinstance(index, slice):
            return Pictures(self._make, self._numbers[index])
        return self._make(self._numbers[index])


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Pictures to collect statistics on, and others to judge what was made of them.

    Each picture has up to four asks, which change from picture to picture so that all tasks take part. Where a source
    has no annotations, the truths of its asks are empty. ``notes`` say what a user should know.
    """

    name: str
    calibration: Sequence[Picture]
    held_out: Sequence[Picture]
    notes: tuple[str, ...]
    _facts: Callable[[], Mapping[str, Any]]

    def describe(self) -> Mapping[str, Any]:
        """JSON values that tell these calibration pictures and asks from any others.

        Images and JSONL files go by their content, annotation files by size and time of change, drawn scenes by
        their seeds and the first of them.
        """
        return self._facts()


def open_calibration(name: str, samples: int, held_out: int) -> CalibrationData:
    """Open what ``--calibration-data`` names.

    Args:
        name: a registered generator ("shapes", of which the split for calibration is taken, or "shapes:SPLIT"), a
            folder of annotated images as ``open_data`` takes it, a folder of images (searched with its sub-folders),
            or a JSONL file.
        samples: pictures to calibrate on, at least 1; fewer where there are no more.
        held_out: pictures that are not calibrated on, taken from the end. Of a source that has fewer than both
            together, they are the same share, but at least one; a single picture serves both. 0 asks for none.

    Raises:
        InputError: nothing of that name, a source that cannot be used, or numbers that make no sense.
    """
    if samples < 1 or held_out < 0:
        raise InputError(
            f"{samples} calibration samples and {held_out} held-out ones; expected at least 1 and at least 0"
        )
    source = _open(name)
    calibration, judged = divide(source.count, source.group, samples, held_out)
    notes = list(source.notes)
    if len(calibration) < samples:
        notes.append(f"{name} gives {_pictures(len(calibration))} to calibrate on, fewer than the {samples} asked for")
    if len(judged) < held_out:
        notes.append(f"{name} gives {_pictures(len(judged))} to judge by, fewer than the {held_out} asked for")
    if len(judged) and judged[0] < len(calibration):
        notes.append(f"{name} has a single image, which is calibrated on and judged by: figures are too good")
    return CalibrationData(
        name,
        Pictures(source.picture, calibration),
        Pictures(source.picture, judged),
        tuple(notes),
        lambda: {**source.facts(calibration), "numbers": [calibration.start, calibration.stop]},
    )


def divide(count: int, group: Callable[[int], object], samples: int, held_out: int) -> tuple[range, range]:
    """Numbers of the pictures to calibrate on and of those held out, of ``count`` in all.

    Pictures of one ``group``, which follow each other, are never in both, unless all are of one.
    """
    if not held_out:
        return range(min(samples, count)), range(0)
    first = count - held_out
    if count < samples + held_out:
        first = min(count - 1, count - max(1, round(count * held_out / (samples + held_out))))
    stop = min(samples, first) or 1
    later = next((index for index in range(first, count) if group(index) != group(stop - 1)), None)
    if later is not None and later >= stop:
        return range(stop), range(later, count)
    stop = next((index for index in range(first, 0, -1) if group(index - 1) != group(first)), 0)
    if stop:
        return range(stop), range(first, count)
    return range(min(samples, count)), range(count - min(held_out, count), count)


def _open(name: str) -> PromptSource:
    known, colon, _ = name.partition(":")
    if known in NAMED:
        return _annotated(open_data(name) if colon else open_data(name, split="calibration"), generated=True)
    path = Path(name)
    if path.is_file():
        return open_jsonl(path)
    if not path.is_dir():
        raise InputError(
            f"{name!r} is no known calibration data; known are {', '.join(sorted(NAMED))}, and the path of a folder of "
            "images or of a JSONL file works too"
        )
    try:
        return _annotated(open_data(path), generated=False)
    except UnknownLayoutError:
        return open_images(path)


def _annotated(data: DataSet, *, generated: bool) -> PromptSource:
    tasks = data.tasks
    count = data.count(tasks)
    if not count:
        raise InputError(f"{data.name} has no picture to calibrate on")

    def picture(index: int) -> Picture:
        whole = data.picture(tasks, index)
        return Picture(whole.name, whole.image, pick_asks(whole.asks, index))

    def facts(numbers: range) -> Mapping[str, Any]:
        described = dict(data.describe())
        # Code draws scenes and makes asks: where it changes, the first of them does.
        looked_at = numbers[:1] if generated else numbers
        pictures = [picture(index) for index in looked_at]
        digest = hashlib.sha256()
        for item in pictures:
            digest.update(repr((item.name, [_told(ask) for ask in item.asks])).encode())
            if generated:
                digest.update(item.image().tobytes())
        if isinstance(folder := described.get("folder"), str):
            described["images"] = content_hash([Path(folder) / item.name for item in pictures])
            described["annotations"] = [_stamp(path) for path in _files(described)]
        return {"data": described, "asks": digest.hexdigest()}

    return PromptSource(count, picture, lambda index: index, facts, data.notes)


def _told(ask: Phrase | Categories | Regions | Caption) -> tuple[object, ...]:
    """What the model is told, without masks."""
    if isinstance(ask, Phrase):
        return ask.task, ask.text, ask.short, ask.several
    if isinstance(ask, Categories):
        return ask.task, ask.names, ask.things
    if isinstance(ask, Regions):
        return ask.task, len(ask.prompts), ask.similar, ask.kind
    return (ask.task,)


def _files(value: object) -> list[Path]:
    """The paths of files among JSON values."""
    if isinstance(value, Mapping):
        return [path for item in value.values() for path in _files(item)]
    if isinstance(value, list):
        return [path for item in value for path in _files(item)]
    return [Path(value)] if isinstance(value, str) and Path(value).is_file() else []


def _stamp(path: Path) -> list[object]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
