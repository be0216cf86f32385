"""Calibration data as a JSONL file: a line for each ask, ``{"image": path, "task": name, "prompt": what}``.

Paths are relative to the file. The prompt is

- of ``refer`` a phrase, of ``reason`` a sentence,
- of ``categories`` (or ``panoptic``), ``semantic`` and ``instances`` a list of names, or one text with commas, or
  ``{"things": names, "stuff": names}``; plain names are things,
- of ``regions`` ``{"box": [x0, y0, x1, y1]}`` or ``{"point": [x, y]}`` in pixels of the image, or a list of those for
  everything that resembles one of them,
- of ``describe`` (or ``captions``) nothing: its question is fixed.

Asks of one image are put together, a few to a picture, in the order of the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xsam_edge.calibration.data.files import checked, field, open_picture
from xsam_edge.calibration.data.plain_images import drawn_region
from xsam_edge.calibration.data.prompt_source import ASKS, PromptSource, content_hash
from xsam_edge.calibration.data.samples import Ask, BoolMask, Caption, Categories, Lazy, Phrase, Picture, Regions
from xsam_edge.runtime.bundle.manifest import hash_file
from xsam_edge.runtime.bundle.settings import PromptFormat
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language import prompts

_FORM = PromptFormat("{input}", "<image>", "", ())  # any: texts are checked before there is a model


def open_jsonl(path: Path) -> PromptSource:
    """All asks of a JSONL file; blank lines are skipped.

    Images are opened when they are asked about: one that cannot be read is no error here.

    Raises InputError for a file without an ask, and for a line that is none (names file and line).
    """
    by_image: dict[Path, list[Ask]] = {}
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            image, ask = _read(line, path, f"{path}, line {number}")
            by_image.setdefault(image, []).append(ask)
    if not by_image:
        raise InputError(f'{path} holds no line; write lines of {{"image": ..., "task": ..., "prompt": ...}}')
    pictures = [
        (image, start // ASKS, tuple(asks[start : start + ASKS]))
        for image, asks in by_image.items()
        for start in range(0, len(asks), ASKS)
    ]

    def picture(index: int) -> Picture:
        image, part, asks = pictures[index]
        name = f"{image}#{part + 1}" if part else str(image)
        return Picture(name, partial(open_picture, image, None), asks)

    def facts(numbers: range) -> dict[str, Any]:
        images = dict.fromkeys(pictures[index][0] for index in numbers)
        return {"jsonl": hash_file(path), "images": content_hash(images)}

    return PromptSource(len(pictures), picture, lambda index: pictures[index][0], facts)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as JSONL ({error}); expected UTF-8 text with a JSON object a line"
        ) from None


def _read(line: str, path: Path, where: str) -> tuple[Path, Ask]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); expected an object with image, task and prompt") from None
    image, task = field(record, "image", str, where), field(record, "task", str, where)
    if not image or "\0" in image:
        raise InputError(f"{where}: 'image' is {image!r}; expected the path of an image")
    if task == "chat":
        raise InputError(
            f"{where}: chat is not calibrated on, its answers have no masks to compare; describe asks for a text"
        )
    if task not in _READERS:
        raise InputError(f"{where}: the task {task!r} is unknown; choose one of {', '.join(_READERS)}")
    unknown = sorted(set(record) - {"image", "task", "prompt"})
    if unknown:
        raise InputError(f"{where}: {', '.join(unknown)} is not known; expected image, task and prompt")
    image_path = Path(os.path.normpath(path.parent / image))  # one image, however it is written
    try:
        return image_path, _READERS[task](record, image_path, where)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(where) else f"{where}: {text}") from None


def _phrase(task: Literal["refer", "reason"], record: Any, _image: Path, where: str) -> Ask:
    text = field(record, "prompt", str, where)
    (prompts.refer if task == "refer" else prompts.reason)(text, _FORM)
    return Phrase(task, text, None)


def _categories(task: Literal["panoptic", "semantic", "instances"], record: Any, _image: Path, where: str) -> Ask:
    prompt = record.get("prompt")
    if isinstance(prompt, dict):
        if unknown := sorted(set(prompt) - {"things", "stuff"}):
            raise InputError(f"{where}: 'prompt' holds {', '.join(unknown)}; expected things and stuff")
        things, stuff = _names(prompt.get("things", []), where), _names(prompt.get("stuff", []), where)
    else:
        things, stuff = _names(prompt, where), []
    prompts.categories(things + stuff, _FORM)
    if task == "instances" and not things:
        raise InputError(f"{where}: instances are asked of things; none is given")
    return Categories(task, (*things, *stuff), len(things), ())


def _names(value: Any, where: str) -> list[str]:
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    if not isinstance(value, list):
        raise InputError(f"{where}: 'prompt' is {value!r}; expected a list of names or a text with commas between them")
    return [checked(name, str, f"{where}: a category") for name in value]


def _regions(record: Any, image: Path, where: str) -> Ask:
    prompt = record.get("prompt")
    several = isinstance(prompt, list)
    shown = prompt if isinstance(prompt, list) else [prompt]
    if not shown:
        raise InputError(f"{where}: 'prompt' names no region; give a box or a point")
    regions = [_region(item, image, where) for item in shown]
    masks = tuple(partial(_named, mask, where) for _, mask in regions)
    return Regions(masks, (), several, "" if several else regions[0][0])


_COUNTS = {"box": 4, "point": 2}


def _region(value: Any, image: Path, where: str) -> tuple[str, Lazy]:
    kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
    if kind not in _COUNTS:
        raise InputError(
            f'{where}: the region is {value!r}; expected {{"box": [x0, y0, x1, y1]}} or {{"point": [x, y]}}'
        )
    numbers = [checked(item, float, f"{where}: a number of the {kind}") for item in field(value, kind, list, where)]
    if len(numbers) != _COUNTS[kind]:
        raise InputError(f"{where}: the {kind} has {len(numbers)} numbers; expected {_COUNTS[kind]}")
    return kind, drawn_region(image, kind, tuple(numbers))


def _named(mask: Lazy, where: str) -> BoolMask:
    """A mask whose errors name the line that asks for it."""
    try:
        return mask()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _describe(_record: Any, _image: Path, _where: str) -> Ask:
    return Caption("", (), ())


_READERS: dict[str, Callable[[Any, Path, str], Ask]] = {
    "refer": partial(_phrase, "refer"),
    "reason": partial(_phrase, "reason"),
    "categories": partial(_categories, "panoptic"),
    "panoptic": partial(_categories, "panoptic"),
    "semantic": partial(_categories, "semantic"),
    "instances": partial(_categories, "instances"),
    "regions": _regions,
    "describe": _describe,
    "captions": _describe,
}
