"""The name of the licence that lies with a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

#: A model card, whose front matter names a licence, and files that are one.
MODEL_CARD = "README.md"
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING")
_FRONT_MATTER = re.compile(r"---\s*\n(.*?\n)---\s*(\n|$)", re.DOTALL)
_LICENCE = re.compile(r"^(license|license_name):[ \t]*[\"']?([^\s\"']+)", re.MULTILINE)


def licence_of(file: Path, opened: Path) -> str:
    """Name the licence of a checkpoint.

    Looked for beside ``file`` and in the folders above it as far as ``opened``, the path that a user named, or to the
    root of the repository where the file lies in the hub's cache.

    Returns:
        What a model card calls it, an SPDX id such as "apache-2.0"; else the name of a licence's file; else "".
    """
    for folder in _folders(file, opened):
        if name := _of_card(folder / MODEL_CARD):
            return name
        if found := next((name for name in LICENCE_FILES if (folder / name).is_file()), None):
            return found
    return ""


def _folders(file: Path, opened: Path) -> Iterator[Path]:
    parents = list(file.parents)
    roots = [folder for folder in parents if folder.parent.name == "snapshots"] or [p for p in parents if p == opened]
    last = roots[0] if roots else file.parent
    return iter(parents[: parents.index(last) + 1])


def _of_card(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as card:
            front = _FRONT_MATTER.match(card.read(1 << 16))
    except (OSError, UnicodeDecodeError):
        return ""
    told: dict[str, str] = dict(_LICENCE.findall(front[1])) if front else {}
    name = told.get("license", "")
    return told.get("license_name", "") if name == "other" else name
