"""The fields of a segmentation request: what is asked of which picture, and how masks are to be written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.postprocess.readers import Threshold, checked_threshold
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.serve.failures import RequestError, clean, wrong_field
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.multipart import Part
from xsam_edge.runtime.serve.pictures import decode_mask, from_text
from xsam_edge.runtime.serve.questions import PHRASES, TASKS, Question
from xsam_edge.runtime.serve.replies import FORMATS

# Field -> whether it may be given several times.
FIELDS: Mapping[str, bool] = {
    "image": False,
    "scene": False,
    "model": False,
    "task": False,
    "prompt": True,
    "things": True,
    "stuff": True,
    "form": False,
    "boxes": False,
    "box_labels": False,
    "points": False,
    "masks": True,
    "similar": False,
    "several": False,
    "threshold": False,
    "max_tokens": False,
    "mask_format": False,
}
_FORMS = ("panoptic", "instances", "semantic")
# Task -> the fields that belong to it, beside those of every task.
_OF_TASKS: Mapping[str, tuple[str, ...]] = {
    "refer": ("prompt", "several", "threshold"),
    "reason": ("prompt", "several", "threshold"),
    "categories": ("things", "stuff", "form", "threshold"),
    "regions": ("boxes", "box_labels", "points", "masks", "similar", "threshold"),
    "caption": ("threshold", "max_tokens"),
}
_OF_ALL = ("image", "scene", "model", "task", "mask_format")
SEGMENTING = tuple(task for task in TASKS if task in _OF_TASKS)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A request: ``picture`` is a file's content, or ``scene`` the id of a picture that is kept."""

    picture: bytes | None
    scene: str | None
    question: Question
    mask_format: str
    model: str | None


def read_fields(parts: Sequence[Part], limits: Limits, prefixes: Sequence[str]) -> Segmentation:
    """Read a form.

    Raises:
        RequestError: an unknown field, one that is missing, belongs to another task, is given twice or cannot be read.
    """
    given: dict[str, list[Part]] = {}
    for part in parts:
        if part.name not in FIELDS:
            known = ", ".join(FIELDS)
            raise RequestError(
                400, f"{part.name[:80]!r} is no field; known are {known}", part.name[:80], "unknown_field"
            )
        given.setdefault(part.name, []).append(part)
        if len(given[part.name]) > 1 and not FIELDS[part.name]:
            raise RequestError(400, f"{part.name} was given more than once", part.name, "repeated_field")
    task = _task(given)
    for name in given:
        if name not in (*_OF_ALL, *_OF_TASKS[task]):
            wanted = ", ".join(_OF_TASKS[task])
            raise RequestError(
                400, f"{name} does not belong to the task {task}, which takes {wanted}", name, "wrong_field"
            )
    mask_format = _one(given, "mask_format", "png")
    if mask_format not in FORMATS:
        raise wrong_field("mask_format", mask_format, " or ".join(FORMATS))
    picture, scene = _picture(given, limits, prefixes)
    model = _one(given, "model", "") or None
    return Segmentation(picture, scene, _QUESTIONS[task](given, limits), mask_format, model)


def _task(given: Mapping[str, Sequence[Part]]) -> str:
    told = _one(given, "task", "")
    if told and told not in SEGMENTING:
        more = "; questions with answers in words go to /v1/chat/completions" if told == "chat" else ""
        raise wrong_field("task", told, " or ".join(SEGMENTING) + more)
    if told:
        return told
    found = [
        task
        for task, names in (
            ("refer", ("prompt",)),
            ("categories", ("things", "stuff")),
            ("regions", ("boxes", "points", "masks")),
        )
        if any(name in given for name in names)
    ]
    if len(found) != 1:
        fault = f"{' and '.join(found)} were asked for together" if found else "nothing was asked for"
        choices = "prompt; things, stuff; boxes, points, masks; task=caption"
        raise RequestError(400, f"{fault}; give one of: {choices}", "task", "wrong_task")
    return found[0]


def _picture(
    given: Mapping[str, Sequence[Part]], limits: Limits, prefixes: Sequence[str]
) -> tuple[bytes | None, str | None]:
    image, scene = given.get("image"), _one(given, "scene", "")
    if (image is None) == (not scene):
        fault = "both were given" if image else "neither was given"
        raise RequestError(400, f"a request has an image or a scene, and {fault}", "image", "missing_image")
    if image is None:
        return None, scene
    if image[0].is_file:
        return bytes(image[0].data), None
    return from_text(image[0].text.strip(), "image", limits, prefixes), None


def _phrases(task: str, given: Mapping[str, Sequence[Part]], limits: Limits) -> Question:
    texts = tuple(part.text for part in given.get("prompt", ()))
    if not texts or not all(text.strip() for text in texts):
        raise RequestError(400, "prompt is empty; say what to look for", "prompt", "missing_prompt")
    if len(texts) > limits.prompts:
        raise wrong_field("prompt", f"{len(texts)} texts", f"at most {limits.prompts}")
    for text in texts:
        check_text("prompt", text, limits)
    return Question(task, texts, {"several": _flag(given, "several"), **_threshold(given)})


def _categories(given: Mapping[str, Sequence[Part]], limits: Limits) -> Question:
    names = {field: [name for part in given.get(field, ()) for name in _names(part)] for field in ("things", "stuff")}
    count = sum(map(len, names.values()))
    if not count:
        raise RequestError(400, "no category was given; give things, stuff or both", "things", "missing_categories")
    if count > limits.categories:
        message = f"{count} categories were given; at most {limits.categories} are taken in one request"
        raise RequestError(400, message, "things", "too_many_categories")
    for field, listed in names.items():
        for name in listed:
            check_text(field, name, limits)
    options: dict[str, Any] = {**names, **_threshold(given)}
    if form := _one(given, "form", ""):
        if form not in _FORMS:
            raise wrong_field("form", form, " or ".join(_FORMS))
        options |= {"instances": form == "instances", "semantic": form == "semantic"}
    return Question("categories", (), options)


def _regions(given: Mapping[str, Sequence[Part]], limits: Limits) -> Question:
    boxes, points = _numbers(given, "boxes", 4), _numbers(given, "points", 2)
    if (labels := _json(given, "box_labels")) is not None and labels != [1] * len(boxes):
        raise wrong_field("box_labels", labels, "a 1 for each box: boxes that must not match are not supported")
    masks = [mask for part in given.get("masks", ()) for mask in _masks(part, limits)]
    count = len(boxes) + len(points) + len(masks)
    if not count:
        raise RequestError(400, "no region was given; give boxes, points or masks", "boxes", "missing_regions")
    if count > limits.regions:
        message = f"{count} regions were given; at most {limits.regions} are taken in one request"
        raise RequestError(400, message, "boxes", "too_many_regions")
    options: dict[str, Any] = {"boxes": boxes, "points": points, "masks": masks, **_threshold(given)}
    if "similar" in given:
        options["similar"] = _flag(given, "similar")
    return Question("regions", (), options)


def _caption(given: Mapping[str, Sequence[Part]], limits: Limits) -> Question:
    options: dict[str, Any] = _threshold(given)
    if text := _one(given, "max_tokens", ""):
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= limits.new_tokens:
            raise wrong_field("max_tokens", text, f"a whole number from 1 to {limits.new_tokens}")
        options["max_new_tokens"] = int(text[:9])
    return Question("caption", (), options)


_QUESTIONS: Mapping[str, Callable[[Mapping[str, Sequence[Part]], Limits], Question]] = {
    "categories": _categories,
    "regions": _regions,
    "caption": _caption,
    **{task: partial(_phrases, task) for task in PHRASES},
}


def check_text(param: str, text: str, limits: Limits) -> None:
    """Refuse a text that is too long or is none. Raises RequestError (400)."""
    if not text.isascii() and clean(text) != text:
        raise RequestError(400, f"{param} holds half of a character (a lone surrogate)", param, "invalid_value")
    if len(text) > limits.text:
        message = f"{param} has {len(text)} characters; at most {limits.text} are taken"
        raise RequestError(400, message, param, "too_long")


def _one(given: Mapping[str, Sequence[Part]], name: str, default: str) -> str:
    return given[name][0].text.strip() if name in given else default


def _flag(given: Mapping[str, Sequence[Part]], name: str) -> bool:
    text = _one(given, name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise wrong_field(name, text, "true or false")
    return text in ("true", "1")


def _threshold(given: Mapping[str, Sequence[Part]]) -> dict[str, Threshold]:
    if not (text := _one(given, "threshold", "")):
        return {}
    try:
        return {"threshold": checked_threshold("official" if text == "official" else float(text))}
    except ValueError:  # InputError too
        raise wrong_field("threshold", text, "a number from 0 to 1, or official") from None


def _names(part: Part) -> list[str]:
    """Names with commas between, or a list of JSON, in which a comma belongs to a name."""
    text = part.text.strip()
    names = [name.strip() for name in text.split(",")]
    if text.startswith("["):
        names = _parsed(part.name, text)
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise wrong_field(part.name, text, 'names with commas between, or a list such as ["person", "car"]')
    return names


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise wrong_field(name, text, "JSON") from None


def _json(given: Mapping[str, Sequence[Part]], name: str) -> Any:
    text = _one(given, name, "")
    return _parsed(name, text) if text else None


def _numbers(given: Mapping[str, Sequence[Part]], name: str, size: int) -> list[list[float]]:
    value = _json(given, name)
    what = "x0, y0, x1, y1" if size == 4 else "x, y"
    expected = f"a list of [{what}] in pixels"
    if value is None:
        return []
    if isinstance(value, list) and len(value) == size and not any(isinstance(item, list) for item in value):
        value = [value]  # one, without the list around it
    if not isinstance(value, list):
        raise wrong_field(name, value, expected)
    for item in value:
        numbers = isinstance(item, list) and len(item) == size
        if not numbers or not all(type(number) in (int, float) and abs(number) < 1e9 for number in item):
            raise wrong_field(name, item, expected)
    return value


def _masks(part: Part, limits: Limits) -> list[Any]:
    """A picture, or the masks of a list of run lengths, bool [H, W]."""
    if part.is_file:
        return [decode_mask(bytes(part.data), limits)]
    listed = _parsed("masks", part.text)
    expected = "a file, or a list of run lengths as replies have them: [{'size': [height, width], 'counts': '...'}]"
    items = listed if isinstance(listed, list) else [listed]
    if len(items) > limits.regions:
        raise wrong_field("masks", f"{len(items)} masks", f"at most {limits.regions}")
    return [_mask_of(item, limits, expected) for item in items]


def _mask_of(item: Any, limits: Limits, expected: str) -> Any:
    match item:
        case {"size": [int(height), int(width)], "counts": str(counts), **others} if not others:
            if height < 1 or width < 1 or height * width > limits.pixels:
                raise wrong_field("masks", item, expected)
        case _:
            raise wrong_field("masks", item, expected)
    try:
        return rle.decode((height, width), counts)
    except InputError as error:
        raise RequestError(400, f"masks: {error}", "masks", "invalid_value") from None
