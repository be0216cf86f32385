"""Where ``xsam-segment`` writes: whether a folder may be used, and the names of those in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.files import short, slug


def check_output(folder: Path, overwrite: bool) -> None:
    """Refuse an output folder that cannot be used, before anything is computed.

    Raises:
        InputError: a file, or a folder with something in it and no leave to overwrite.
        OSError: a folder that cannot be read.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; choose another with --output")
    if not overwrite and any(folder.iterdir()):
        raise InputError(f"{folder} already exists and is not empty; choose another with --output, or pass --overwrite")


def folder_names(images: Sequence[Path]) -> list[str]:
    """One folder name per image: its stem, counted on where two images have the same, whatever the case."""
    taken: set[str] = set()
    names = []
    for image in images:
        stem = short(image.stem.strip(" .") or "image")
        name, number = stem, 1
        while _folded(name) in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(_folded(name))
        names.append(name)
    return names


def part_names(name: str, texts: Sequence[str | None]) -> list[str]:
    """The folder names of what was asked of one image: ``name``, numbered and with the text where there are several."""
    if len(texts) == 1:
        return [name]
    return [f"{name}_{number:02d}{slug(text or '')}" for number, text in enumerate(texts, 1)]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
