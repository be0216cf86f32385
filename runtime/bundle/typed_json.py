"""JSON into frozen dataclasses, by the annotations of their fields: the one place where JSON files are read.

A field is a ``bool``, ``int`` (of 64 bits), ``float`` (finite), ``str`` (valid Unicode), ``None``, a ``Literal``, a
``tuple``, a ``Mapping`` or ``dict`` with keys of text, a dataclass, a union of these whose JSON types differ, or
``Any``, which is left as it is; ``Annotated`` adds constraints (:mod:`xsam_edge.runtime.bundle.constraints`). A field
without a default has to be there. A class may have

- ``extra_keys: ClassVar[bool] = True``: other keys are ignored, for files that hold more than is used; else they are
  refused,
- ``retired_keys: ClassVar[frozenset[str]]``: keys that are fields no more are ignored,
- ``check(self)``, called last: where fields contradict each other it raises ValueError, with a text that begins with
  a field ("group is 3; expected a divisor of points, 256").

Nothing that is read is trusted. Whatever a file holds, an error is one line: the file, the path inside of it
(``graphs.llm.inputs[2].shape``), what is there, what was expected and what to do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from xsam_edge.runtime.bundle.conversion import Mismatch, convert, shown
from xsam_edge.runtime.errors import InputError, XSamError

T = TypeVar("T")

_MOST_DIGITS = 640  # of a whole number; the least that Python's own limit may be set to


def read_json(
    path: Path, kind: type[T], error: type[XSamError] = InputError, *, advice: str = "", missing: str = ""
) -> T:
    """Read a file that holds a ``kind``.

    Args:
        path: of the file, UTF-8 with or without a byte order mark.
        kind: a dataclass, or anything else that a field may be.
        error: what to raise.
        advice: what a user can do about a file that is damaged.
        missing: the whole message where there is no file.

    Raises:
        XSamError: ``error``, where there is no file or it holds anything else.
    """
    return from_json(kind, load_json(path, error, advice=advice, missing=missing), str(path), error, advice=advice)


def load_json(
    path: Path, error: type[XSamError] = InputError, *, advice: str = "", missing: str = "", lenient: bool = False
) -> object:
    """The value that a file holds, for :func:`from_json`; ``lenient`` skips bytes that are no UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as reason:
        if missing and isinstance(reason, (FileNotFoundError, NotADirectoryError)):
            raise error(missing) from None
        raise error(_with(advice, f"{path} cannot be read ({reason.strerror or reason})")) from None
    text = content.decode("utf-8-sig", "ignore") if lenient else content
    return parse_json(text, str(path), error, advice=advice)


def parse_json(content: str | bytes, where: str, error: type[XSamError] = InputError, *, advice: str = "") -> object:
    """The value that a JSON text holds, for :func:`from_json`. Raises ``error``, which begins with ``where``."""
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        value: object = json.loads(text, object_pairs_hook=_unique, parse_int=_whole)
        return value
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as refused:
        reason = str(refused) if content.strip() else "it is empty"
    raise error(_with(advice, f"{where} cannot be read as JSON ({reason})"))


def from_json(
    kind: type[T], value: object, where: str, error: type[XSamError] = InputError, *, at: str = "", advice: str = ""
) -> T:
    """Build a ``kind`` from the value that JSON was decoded to, or from the part of one whose path is ``at``.

    Raises ``error``, which begins with ``where``.
    """
    try:
        built: T = convert(kind, value)
    except Mismatch as mismatch:
        text = ("".join([at, *reversed(mismatch.path)]) + mismatch.text).removeprefix(".")
        between = "" if text.startswith(" ") else ": "
        raise error(_with(advice, where + between + text)) from None
    return built


def _with(advice: str, text: str) -> str:
    return f"{text}; {advice}" if advice else text


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:  # Python takes long for them, or says how to raise its limit
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        last = {name: index for index, (name, _) in enumerate(pairs)}
        twice = next(name for index, (name, _) in enumerate(pairs) if last[name] != index)
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return values
