"""``--map``: names of categories that become others, several of them one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label.categories import Category, nearest, read_lines


def read_map(path: Path) -> dict[str, str]:
    """The new name of each old one, of lines such as ``car,van -> vehicle``, or of a JSON object.

    An object has new names with lists of old ones, or old names with their new one.

    Raises:
        InputError: a file that is neither, or an old name that is there twice.
    """
    pairs: list[tuple[str, str]] = []
    lines = read_lines(path)
    if lines[0].startswith("{"):
        pairs = _of_json(path)
    else:
        for line in lines:
            olds, arrow, new = line.rpartition("->")
            if not arrow or not new.strip():
                raise InputError(f"{path}: {line!r} is no mapping; write car,van -> vehicle")
            pairs += [(old.strip(), new.strip()) for old in olds.split(",")]
    mapping: dict[str, str] = {}
    for old, new in pairs:
        if not old or not new:
            raise InputError(f"{path}: a name is empty in {old!r} -> {new!r}; write car,van -> vehicle")
        if mapping.setdefault(old, new) != new:
            raise InputError(f"{path}: {old!r} becomes both {mapping[old]!r} and {new!r}; give it once")
    return mapping


def _of_json(path: Path) -> list[tuple[str, str]]:
    wrong = InputError(
        f'{path} is no JSON object of names; write {{"vehicle": ["car", "van"]}} or {{"car": "vehicle"}}'
    )
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(given, dict):
        raise wrong
    pairs = []
    for key, value in given.items():
        if isinstance(value, str):
            pairs.append((key, value))
        elif isinstance(value, list) and all(isinstance(old, str) for old in value):
            pairs += [(old, key) for old in value]
        else:
            raise wrong
    return pairs


def mapped(
    categories: Sequence[Category], mapping: Mapping[str, str]
) -> tuple[tuple[Category, ...], Mapping[str, Category]]:
    """The categories that there are after a mapping, and the one that each of the old names becomes.

    A category keeps its number; one that is new has that of the first which becomes it.

    Raises:
        InputError: an old name that is none of the categories, or things and stuff that become one.
    """
    names = [category.name for category in categories]
    for old in mapping:
        if old not in names:
            raise InputError(f"the map names {old!r}, which is none of the categories; {nearest(old, names)}")
    kept: dict[str, Category] = {}
    becomes: dict[str, Category] = {}
    for category in categories:
        new = mapping.get(category.name, category.name)
        found = kept.setdefault(new, Category(new, category.is_thing, category.id))
        if found.is_thing != category.is_thing:
            raise InputError(f"the map makes {new!r} of things and of stuff; map them to different names")
        becomes[category.name] = found
    return tuple(kept.values()), becomes
