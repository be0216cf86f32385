"""What the Python interface is given, checked where it enters.

Each function returns an argument as the code behind it wants it, or raises InputError with the argument's name, what
was found and what was expected. Scalars of NumPy and PyTorch are numbers, and arrays and tensors are lists. Nothing is
converted that may have been meant otherwise: text to a number, or a set, which has no order, to a list.
"""

from __future__ import annotations

import math
import numbers as abstract
import operator
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.errors import InputError

T = TypeVar("T")

_LARGEST = (1 << 63) - 1  # what files and libraries hold; beyond thousands of digits Python itself cannot show it
_MOST_ITEMS = 1 << 16  # of an iterator, which may never end
_LENGTH = 80  # characters of a value in a message
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _LENGTH


def found(value: object) -> str:
    """A value in a few words of a message, whatever it is: the value itself where it is short, else its type."""
    value = _plain(value)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, Sequence) and dtype is not None:
        return f"an array of {dtype} {list(shape)}"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, list, tuple, dict, set, range)):
        try:
            text = " ".join(_REPR.repr(value).split())
        except ValueError:  # an integer of thousands of digits
            return "a number of more than 64 bits"
        return text if len(text) <= _LENGTH + 2 else f"{text[:_LENGTH]}..."
    return f"of the type {type(value).__name__}"


def wrong(name: str, value: object, expected: str) -> InputError:
    """The error of an argument that is not what was expected."""
    return InputError(f"{name} is {found(value)}; expected {expected}")


def count(name: str, value: object, low: int = 0, high: int | None = None) -> int:
    """A whole number from ``low`` to ``high``, of 64 bits at most."""
    expected = f"a whole number from {low} " + ("on" if high is None else f"to {high}")
    plain = _plain(value)
    if isinstance(plain, bool):
        raise wrong(name, value, expected)
    try:
        whole = operator.index(plain)  # type: ignore[arg-type]
    except Exception:  # none, or one that objects
        raise wrong(name, value, expected) from None
    if not low <= whole <= (_LARGEST if high is None else high):
        raise wrong(name, value, expected)
    return whole


def number(
    name: str,
    value: object,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    what: str = "a finite number",
) -> float:
    """A finite number from ``low`` to ``high``, or above ``above``; ``what`` it is, in words."""
    bounds = [] if low is None else [f"from {low:g}"]
    bounds += [] if above is None else [f"above {above:g}"]
    bounds += [] if high is None else [f"to {high:g}"] if bounds else [f"up to {high:g}"]
    expected = " ".join((what, *bounds))
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, abstract.Real):
        raise wrong(name, value, expected)
    try:
        real = float(plain)
    except OverflowError:
        raise wrong(name, value, expected) from None
    if (
        not math.isfinite(real)
        or (low is not None and real < low)
        or (high is not None and real > high)
        or (above is not None and real <= above)
    ):
        raise wrong(name, value, expected)
    return real


def share(name: str, value: object) -> float:
    """A number from 0 to 1."""
    return number(name, value, 0, 1, what="a number")


def flag(name: str, value: object) -> bool:
    """True or False; 1 and 0 stand for them."""
    plain = _plain(value)
    if not isinstance(plain, (bool, int)) or plain not in (0, 1):
        raise wrong(name, value, "True or False")
    return bool(plain)


def text(name: str, value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise wrong(name, value, "text")
    return str(value)


def choice(name: str, value: object, *choices: str) -> str:
    """One of a few texts."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} is {found(value)}; choose {' or '.join(map(repr, choices))}")
    return str(value)


def items(name: str, value: object, expected: str) -> list[Any]:
    """The items of a list, a tuple, an array, a generator or anything else that has an order, up to 65,536."""
    text_or_unordered = isinstance(value, (str, bytes, bytearray, Mapping, Set))
    if text_or_unordered or not isinstance(value, Iterable):
        raise wrong(name, value, expected)
    if isinstance(value, Iterator):  # whose own errors are its caller's
        given = list(islice(value, _MOST_ITEMS + 1))
        if len(given) > _MOST_ITEMS:
            raise InputError(f"{name} gives more than {_MOST_ITEMS} items; expected {expected}")
        return given
    try:
        return list(value)
    except Exception:  # such as an array without an axis
        raise wrong(name, value, expected) from None


def items_of(name: str, value: object, size: int, expected: str) -> list[Any]:
    """``size`` items, as of ``items``."""
    given = items(name, value, expected)
    if len(given) != size:
        raise wrong(name, value, expected)
    return given


def reals(name: str, value: object, size: int, expected: str) -> list[float]:
    """``size`` finite numbers."""
    given = items_of(name, value, size, expected)
    try:
        return [number(name, item) for item in given]
    except InputError:
        raise wrong(name, value, expected) from None


def path(name: str, value: object, expected: str) -> Path:
    """The path of a file or folder. An empty one, as of a variable that is not set, would be the current folder."""
    if not isinstance(value, (str, os.PathLike)):
        raise wrong(name, value, expected)
    try:
        given = os.fsdecode(value)
        usable = os.fsencode(given)
    except (TypeError, UnicodeEncodeError):  # the first of an object whose path is none
        raise wrong(name, value, expected) from None
    if not usable or b"\0" in usable:
        raise wrong(name, given, expected)
    return Path(given)


def function(name: str, value: object) -> Callable[..., Any]:
    """What can be called."""
    if not callable(value):
        raise wrong(name, value, "a function")
    return value


def instance(name: str, value: T, kind: type[Any], expected: str) -> T:
    """An object of a class or protocol."""
    if not isinstance(value, kind):
        raise wrong(name, value, expected)
    return value


def array(name: str, value: object, dtype: npt.DTypeLike, shape: tuple[int | str, ...]) -> npt.NDArray[Any]:
    """A NumPy array of a type and a shape, in which a name stands for any size."""
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != dtype
        or value.ndim != len(shape)
        or any(isinstance(size, int) and size != actual for size, actual in zip(shape, value.shape, strict=True))
    ):
        raise wrong(name, value, f"an array of {np.dtype(dtype)} [{', '.join(map(str, shape))}]")
    return value


def _plain(value: object) -> object:
    """A scalar of NumPy or PyTorch, or an array of no axes, as what Python has for it."""
    item, shape = getattr(value, "item", None), getattr(value, "shape", None)
    if not callable(item) or not isinstance(shape, tuple) or shape:
        return value
    try:
        return item()
    except Exception:  # such as of a tensor without values
        return value
