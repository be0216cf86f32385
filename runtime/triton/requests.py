"""The tensors of a request, checked, as an image and a question about it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.triton.signature import DTYPES, INPUTS, TASKS, Tensor

Tensors = Mapping[str, npt.NDArray[Any]]

#: Prompts, or boxes and points, of one request: others wait for it, and every region is a mask at the image's size.
MOST = 64

_INPUTS = {tensor.name: tensor for tensor in INPUTS}
_OPTIONS = ("THRESHOLD", "OVERLAP_THRESHOLD", "SEVERAL", "SIMILAR", "MAX_NEW_TOKENS", "ANSWER")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as it came: the content of a file, or pixels uint8 [H, W, 3]."""

    content: bytes | npt.NDArray[np.uint8]

    @cached_property
    def key(self) -> str:
        """The same for the same image: a hash of the bytes and, of pixels, of their shape."""
        if isinstance(self.content, bytes):
            return f"file {hashlib.sha256(self.content).hexdigest()}"
        pixels = np.ascontiguousarray(self.content)
        return f"pixels {pixels.shape} {hashlib.sha256(pixels.data).hexdigest()}"


@dataclass(frozen=True)
class Ask:
    """One request: ``options`` are keyword arguments of the task's method of a Scene."""

    task: str
    picture: Picture
    prompts: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    boxes: tuple[tuple[float, ...], ...] = ()
    points: tuple[tuple[float, ...], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """How many results it has."""
        return len(self.prompts) or 1


def read_request(tensors: Tensors) -> Ask:
    """A request's tensors by their names, each with its batch axis, as a question.

    Raises:
        InputError: an input that is missing, unknown, of another type, shape or task, or a value out of range. What
            only the model can tell, such as a box outside of the image, is told when it is asked.
    """
    given = {name: _checked(name, array) for name, array in tensors.items()}
    if "TASK" not in given:
        raise InputError(f"TASK is missing; give one of {', '.join(TASKS)}")
    task = arguments.choice("TASK", _texts("TASK", given["TASK"])[0], *TASKS)
    for name in given:
        if task not in (owners := _INPUTS[name].tasks):
            raise InputError(f"{name} does not apply to {task}, only to {', '.join(owners)}; leave it out")
    prompts = _texts("PROMPTS", given["PROMPTS"]) if "PROMPTS" in given else ()
    if not prompts and task in _INPUTS["PROMPTS"].tasks:
        raise InputError(f"PROMPTS are missing; {task} takes at least one text")
    boxes, points = _numbers("BOXES", given), _numbers("POINTS", given)
    for what, count in (("PROMPTS", len(prompts)), ("BOXES and POINTS", len(boxes) + len(points))):
        if count > MOST:
            raise InputError(f"{what} are {count}; one request takes up to {MOST}, send the others in further ones")
    return Ask(
        task,
        _picture(given),
        prompts,
        _texts("THINGS", given["THINGS"]) if "THINGS" in given else (),
        _texts("STUFF", given["STUFF"]) if "STUFF" in given else (),
        boxes,
        points,
        {name.lower(): _option(name, given[name]) for name in _OPTIONS if name in given},
    )


def _checked(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An input without its batch axis."""
    if (tensor := _INPUTS.get(name)) is None:
        raise InputError(f"{arguments.found(name)} is no input of this model; it takes {', '.join(_INPUTS)}")
    shape = (1, *tensor.dims)
    if (
        array.dtype != DTYPES[tensor.dtype]
        or array.ndim != len(shape)
        or any(size not in (-1, actual) for size, actual in zip(shape, array.shape, strict=True))
    ):
        raise InputError(f"{name} is {_shown(array)}; expected {tensor.dtype} {_dims(tensor)}, of one image a request")
    inner: npt.NDArray[Any] = array[0]
    return inner


def _shown(array: npt.NDArray[Any]) -> str:
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    return f"{names.get(array.dtype, str(array.dtype))} {list(array.shape)}"


def _dims(tensor: Tensor) -> str:
    return f"[{', '.join(['1', *('any' if size == -1 else str(size) for size in tensor.dims)])}]"


def _texts(name: str, values: npt.NDArray[Any]) -> tuple[str, ...]:
    return tuple(_text(name, value) for value in values)


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return arguments.instance(name, value, bytes, "text").decode()  # type: ignore[attr-defined, no-any-return]
    except UnicodeDecodeError as error:
        raise InputError(f"{name} holds what is no text in UTF-8 ({error}); encode it as UTF-8") from None


def _numbers(name: str, given: Tensors) -> tuple[tuple[float, ...], ...]:
    rows = given[name].tolist() if name in given else []
    for row in rows:
        if not all(map(math.isfinite, row)):
            raise InputError(f"{name} holds {arguments.found(row)}; expected finite numbers")
    return tuple(map(tuple, rows))


def _option(name: str, values: npt.NDArray[Any]) -> Any:
    value = values[0]
    match name:
        case "ANSWER":
            return arguments.choice(name, _texts(name, values)[0], "greedy", "append")
        case "MAX_NEW_TOKENS":
            return arguments.count(name, value, 1)
        case "SEVERAL" | "SIMILAR":
            return bool(value)
        case _:
            return arguments.share(name, value)


def _picture(given: Tensors) -> Picture:
    if ("IMAGE" in given) == ("PIXELS" in given):
        fault = "IMAGE and PIXELS were given together" if "IMAGE" in given else "no image was given"
        raise InputError(f"{fault}; give IMAGE, the content of a file, or PIXELS, uint8 [1, height, width, 3]")
    if "PIXELS" in given:
        return Picture(given["PIXELS"])
    content = given["IMAGE"][0]
    if not isinstance(content, bytes):
        raise InputError(f"IMAGE is {arguments.found(content)}; expected the bytes of an image file")
    return Picture(content)
