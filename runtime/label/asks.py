"""What is asked of a picture, the same of all or of each its own."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.categories import Category, check_names, nearest, numbered
from xsam_edge.runtime.label.pictures import Pictures

_FORM = '{"picture": "a.jpg", "refer": ["the red car"]} or {"picture": "a.jpg", "things": ["car"], "stuff": ["road"]}'


@dataclass(frozen=True)
class Ask:
    """Names of categories, or phrases: one of the two."""

    things: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, list[str]]:
        """As values of JSON, which :func:`ask_of` reads."""
        given = {"things": self.things, "stuff": self.stuff, "refer": self.phrases}
        return {name: list(texts) for name, texts in given.items() if texts}

    def categories(self) -> tuple[Category, ...]:
        """What segments may be; a phrase is a thing. Raises InputError for a name that is there twice."""
        return numbered((*self.things, *self.phrases), self.stuff)


def ask_of(given: Mapping[str, Any], where: str) -> Ask:
    """An ask from values of JSON; ``where`` they stand. Raises InputError for others."""
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("things", "stuff", "refer"):
        texts = given.get(name, [])
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError(f"{where}: {name} is no list of texts; write {_FORM}")
        lists[name] = tuple(texts)
    unknown = sorted(set(given) - {"picture", *lists})
    if unknown:
        raise InputError(f"{where}: {unknown[0]!r} is unknown; {nearest(unknown[0], ['picture', *lists])}")
    ask = Ask(lists["things"], lists["stuff"], lists["refer"])
    if not ask.things + ask.stuff + ask.phrases or (ask.phrases and ask.things + ask.stuff):
        raise InputError(f"{where}: either refer, or things and stuff are asked for; write {_FORM}")
    check_names((*ask.things, *ask.stuff, *ask.phrases), f" of {where}")
    return ask


class Same:
    """The same ask of every picture."""

    def __init__(self, ask: Ask, categories: Sequence[Category] | None = None) -> None:
        """``categories`` are the ask's own, with other numbers."""
        self.categories = ask.categories() if categories is None else tuple(categories)
        self.header: Mapping[str, Any] = ask.to_json()
        self._ask = ask

    def of(self, _place: int) -> Ask:
        """The ask of a picture, by its place among all."""
        return self._ask


class Each:
    """An ask for each picture, of a file with a JSON object a line; what its lines say is read when it is needed."""

    def __init__(self, path: Path, pictures: Pictures) -> None:
        """Read a file.

        Raises:
            InputError: a line that is no ask, a picture that has none or two, or a name that is a thing here and
                stuff there.
        """
        self._path = path
        self._offsets = array("q", [-1]) * len(pictures)
        kinds: dict[str, bool] = {}
        digest = hashlib.sha256()
        at = 0
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                digest.update(line)
                if line.strip():
                    self._read(line, at, f"{path}, line {number}", pictures, kinds)
                at += len(line)
        missing = [pictures.names[place] for place, offset in enumerate(self._offsets) if offset < 0]
        if missing:
            raise InputError(
                f"{path} asks nothing of {len(missing)} of {len(pictures)} pictures, such as {missing[0]!r}; "
                "give each a line, or leave the pictures out"
            )
        names = [[name for name, is_thing in kinds.items() if is_thing is wanted] for wanted in (True, False)]
        self.categories = numbered(*names)
        self.header: Mapping[str, Any] = {"prompts": digest.hexdigest()}

    def _read(self, line: bytes, at: int, where: str, pictures: Pictures, kinds: dict[str, bool]) -> None:
        given = _object(line.removeprefix(b"\xef\xbb\xbf"), where)
        ask, name = ask_of(given, where), given.get("picture")
        if not isinstance(name, str) or (place := pictures.place(name)) is None:
            raise InputError(
                f"{where}: {name!r} is none of the pictures, whose names begin at {pictures.root}, such as "
                f"{pictures.names[0]!r}"
            )
        if self._offsets[place] >= 0:
            raise InputError(f"{where}: {name!r} has a line already; give one with all that is asked of it")
        self._offsets[place] = at
        for category in ask.categories():
            if kinds.setdefault(category.name, category.is_thing) != category.is_thing:
                raise InputError(f"{where}: {category.name!r} is a thing in one line and stuff in another")

    def of(self, place: int) -> Ask:
        """The ask of a picture, by its place among all."""
        with open(self._path, "rb") as file:
            file.seek(self._offsets[place])
            line = file.readline().removeprefix(b"\xef\xbb\xbf")
        return ask_of(_object(line, str(self._path)), str(self._path))


Asks = Same | Each


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InputError(f"{where} is no JSON object; write {_FORM}")
    return given
