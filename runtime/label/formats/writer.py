"""What a format is: something that takes pictures one after the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from xsam_edge.runtime.label.categories import Category
from xsam_edge.runtime.label.records import Picture


@dataclass(frozen=True)
class DataSet:
    """What holds for all pictures; ``bundle`` is the SHA-256 of its manifest."""

    categories: tuple[Category, ...]
    bundle: str
    polygons: bool = False


class Writer(Protocol):
    """Writes one format into a folder of its own, which is thrown away where an error ends the writing."""

    def add(self, picture: Picture) -> None:
        """Write a picture; they come in their order."""

    def close(self) -> None:
        """Write what is left; then the files are whole."""


class Lists:
    """A JSON object with lists that are longer than memory is large.

    ``head`` comes first. Items of each list are kept in a file of their own until all are there.
    """

    def __init__(self, path: Path, head: dict[str, Any], names: Sequence[str]) -> None:
        self._path, self._head = path, head
        self._parts = {name: path.with_name(f"{path.name}.{name}") for name in names}
        self._files: dict[str, TextIO] = {name: part.open("x", encoding="ascii") for name, part in self._parts.items()}
        self._empty = dict.fromkeys(names, True)

    def add(self, name: str, item: dict[str, Any]) -> None:
        """Add an item to a list."""
        self._files[name].write(("\n" if self._empty[name] else ",\n") + json.dumps(item, separators=(",", ":")))
        self._empty[name] = False

    def close(self) -> None:
        """Put the file together."""
        with open(self._path, "x", encoding="ascii") as whole:
            whole.write(
                "{\n" + "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in self._head.items())
            )
            for number, (name, part) in enumerate(self._parts.items()):
                self._files[name].close()
                whole.write((",\n" if number else "") + f"{json.dumps(name)}: [")
                with open(part, encoding="ascii") as file:
                    while piece := file.read(1 << 20):
                        whole.write(piece)
                whole.write("\n]")
                part.unlink()
            whole.write("\n}\n")
