"""JSON documents with one thing wrong: every value replaced, left out or given company."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

_DEEP: Any = "deep"
for _ in range(60):
    _DEEP = [_DEEP]

WRONG: dict[str, Any] = {
    "text": "x",
    "empty": "",
    "surrogate": "\ud800",
    "lines": "a\nb",
    "zero": 0,
    "minus": -1,
    "one": 1,
    "fraction": 0.5,
    "huge": 10**18,
    "beyond": 10**40,
    "vast": 1e300,
    "tiny": 1e-300,
    "nan": float("nan"),
    "infinity": float("inf"),
    "true": True,
    "null": None,
    "list": [],
    "object": {},
    "deep": _DEEP,
}

Path = tuple[str | int, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value inside of a document, objects and lists included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def alterations(document: Any) -> Iterator[tuple[str, Any]]:
    """Documents that differ from ``document`` in one place, and what was done to each."""
    for path in places(document):
        name = ".".join(map(str, path))
        yield f"{name} is missing", _without(document, path)
        for what, wrong in WRONG.items():
            yield f"{name} is {what}", _with(document, path, wrong)
    for path in [(), *places(document)]:
        if isinstance(_at(document, path), dict):
            yield f"{'.'.join(map(str, path))} has an extra key", _with(document, (*path, "surprise"), 1)
        elif isinstance(_at(document, path), list):
            grown = [*_at(document, path), *(_at(document, path)[-1:] or [1])]
            yield f"{'.'.join(map(str, path))} is longer", _with(document, path, grown)


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def _with(document: Any, path: Path, value: Any) -> Any:
    """A copy of what lies on the path; the rest is shared."""
    if not path:
        return value
    copied = copy.copy(document)
    copied[path[0]] = _with(copied[path[0]], path[1:], value) if len(path) > 1 else value
    return copied


def _without(document: Any, path: Path) -> Any:
    inner = copy.copy(_at(document, path[:-1]))
    del inner[path[-1]]
    return _with(document, path[:-1], inner)
