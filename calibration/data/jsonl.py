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

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from xsam_edge.calibration.data.files import open_picture
from xsam_edge.calibration.data.plain_images import drawn_region
from xsam_edge.calibration.data.prompt_source import ASKS, PromptSource, content_hash
from xsam_edge.calibration.data.samples import Ask, BoolMask, Caption, Categories, Lazy, Phrase, Picture, Regions
from xsam_edge.runtime.bundle.constraints import NOT_EMPTY, Constraint
from xsam_edge.runtime.bundle.manifest import hash_file
from xsam_edge.runtime.bundle.settings import PromptFormat
from xsam_edge.runtime.bundle.typed_json import from_json, parse_json
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language import prompts

_FORM = PromptFormat("{input}", "<image>", "", ())  # any: texts are checked before there is a model

_NAMES = 'names are a list, a text with commas, or {"things": ..., "stuff": ...}'
_REGION = 'a region is {"box": [x0, y0, x1, y1]} or {"point": [x, y]}'

ImagePath = Annotated[str, Constraint("the path of an image", lambda path: path and "\0" not in path)]


@dataclass(frozen=True)
class _Names:
    things: str | tuple[str, ...] = ()
    stuff: str | tuple[str, ...] = ()


@dataclass(frozen=True)
class _Region:
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None

    def check(self) -> None:
        if (self.box is None) == (self.point is None):
            raise ValueError("box and point are both there or both missing; expected one of them")


@dataclass(frozen=True)
class _Line:
    """What every line has; the classes below say what the prompt of a task may be."""

    extra_keys: ClassVar[bool] = True

    image: ImagePath
    task: str


@dataclass(frozen=True)
class _PhraseLine(_Line):
    extra_keys = False

    prompt: str


@dataclass(frozen=True)
class _CategoriesLine(_Line):
    extra_keys = False

    prompt: str | tuple[str, ...] | _Names


@dataclass(frozen=True)
class _RegionsLine(_Line):
    extra_keys = False

    prompt: _Region | Annotated[tuple[_Region, ...], NOT_EMPTY]


@dataclass(frozen=True)
class _CaptionLine(_Line):
    extra_keys = False

    prompt: Any = None


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
    value = parse_json(line, where, advice="a line is an object with image, task and prompt")
    record = from_json(_Line, value, where)
    task = record.task
    if task == "chat":
        raise InputError(
            f"{where}: chat is not calibrated on, its answers have no masks to compare; describe asks for a text"
        )
    if task not in _READERS:
        raise InputError(f"{where}: the task {task!r} is unknown; choose one of {', '.join(_READERS)}")
    image = Path(os.path.normpath(path.parent / record.image))  # one image, however it is written
    try:
        return image, _READERS[task](value, image, where)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(where) else f"{where}: {text}") from None


def _phrase(task: Literal["refer", "reason"], value: object, _image: Path, where: str) -> Ask:
    text = from_json(_PhraseLine, value, where).prompt
    (prompts.refer if task == "refer" else prompts.reason)(text, _FORM)
    return Phrase(task, text, None)


def _categories(task: Literal["panoptic", "semantic", "instances"], value: object, _image: Path, where: str) -> Ask:
    prompt = from_json(_CategoriesLine, value, where, advice=_NAMES).prompt
    names = prompt if isinstance(prompt, _Names) else _Names(prompt)
    things, stuff = _listed(names.things), _listed(names.stuff)
    prompts.categories(things + stuff, _FORM)
    if task == "instances" and not things:
        raise InputError(f"{where}: instances are asked of things; none is given")
    return Categories(task, things + stuff, len(things), ())


def _listed(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names


def _regions(value: object, image: Path, where: str) -> Ask:
    prompt = from_json(_RegionsLine, value, where, advice=_REGION).prompt
    several = isinstance(prompt, tuple)
    regions = [_drawn(region, image) for region in (prompt if isinstance(prompt, tuple) else (prompt,))]
    masks = tuple(partial(_named, mask, where) for _, mask in regions)
    return Regions(masks, (), several, "" if several else regions[0][0])


def _drawn(region: _Region, image: Path) -> tuple[str, Lazy]:
    if region.box is not None:
        return "box", drawn_region(image, "box", region.box)
    return "point", drawn_region(image, "point", region.point or ())


def _named(mask: Lazy, where: str) -> BoolMask:
    """A mask whose errors name the line that asks for it."""
    try:
        return mask()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _describe(value: object, _image: Path, where: str) -> Ask:
    from_json(_CaptionLine, value, where)
    return Caption("", (), ())


_READERS: dict[str, Callable[[object, Path, str], Ask]] = {
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
