"""The files that ``xsam-segment`` writes: one folder per image.

``overlay.png`` (the picture with its segments), ``NN_<label>.png`` (one mask per segment, 8 bits, 0 and 255),
``ids.png`` (panoptic: segment ids, 0 = void; semantic: class indices, 65,535 = none; 16 bits) and ``result.json``. A
folder is
written aside and renamed, so that it is there completely or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result

OVERLAY, IDS, RESULT = "overlay.png", "ids.png", "result.json"
_LABEL_LENGTH = 40  # characters of a label in a file's name
_STEM_BYTES = 200  # a name may have 255


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
        stem = _short(image.stem.strip(" .") or "image")
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
    return [f"{name}_{number:02d}{_slug(text or '')}" for number, text in enumerate(texts, 1)]


def write_result(result: Result, folder: Path, facts: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Write the files of one image into ``folder``, which is made; ``facts`` go into ``result.json`` first.

    Returns the names of the files, as paths that begin with ``folder``.

    Raises:
        InputError: the folder exists, and is not one that this function wrote or may not be replaced.
        OSError: no room or no permission; nothing is left behind.
    """
    names = _names(result)
    files: dict[str, Any] = {
        "result": str(folder / RESULT),
        "overlay": str(folder / OVERLAY) if result.segments else None,
        "ids": str(folder / IDS) if result.id_map is not None else None,
        "masks": [str(folder / name) for name in names],
    }
    with _aside(folder, overwrite) as part:
        for segment, name in zip(result.segments, names, strict=True):
            _save(Image.fromarray(segment.mask).convert("L"), part / name, folder / name)
        if result.id_map is not None:
            # A label map of 65,535 classes does not exist; segments are at most as many as queries. -1 wraps around.
            _save(Image.fromarray(result.id_map.astype(np.uint16)), part / IDS, folder / IDS)
        if result.segments:
            _save(result.overlay(), part / OVERLAY, folder / OVERLAY)
        content = json.dumps({**facts, **result.to_json(), "files": files}, indent=1) + "\n"
        with _named(folder / RESULT):
            (part / RESULT).write_text(content, encoding="utf-8")
    return files


def _names(result: Result) -> list[str]:
    digits = max(2, len(str(len(result.segments))))
    return [f"{number:0{digits}d}{_slug(segment.label or '')}.png" for number, segment in enumerate(result.segments, 1)]


def _slug(label: str) -> str:
    text = "".join(c if c.isalnum() else "-" for c in unicodedata.normalize("NFC", label))
    text = "-".join(part for part in text.split("-") if part)[:_LABEL_LENGTH].strip("-")
    return f"_{_short(text)}" if text else ""


def _short(text: str) -> str:
    """``text`` without its end, as much as a file system takes; ``os.fsencode`` keeps bytes that are no text."""
    while len(os.fsencode(text)) > _STEM_BYTES:
        text = text[:-1]
    return text


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@contextmanager
def _aside(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside ``folder`` to write into, which takes its place at the end."""
    if folder.exists() and not (overwrite and _is_ours(folder)):
        raise InputError(f"{folder} exists and was not written by xsam-segment; move it, or choose another --output")
    with _named(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".xsam-{uuid4().hex}"
    old = folder.parent / f".xsam-{uuid4().hex}"
    with _named(folder):
        part.mkdir()
    try:
        yield part
        with _named(folder):
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds what ``write_result`` writes and nothing else."""
    if not folder.is_dir() or folder.is_symlink() or not (folder / RESULT).is_file():
        return False
    known = {OVERLAY, IDS, RESULT}
    return all(
        entry.name in known or (entry.suffix == ".png" and entry.name[:2].isdigit() and entry.is_file())
        for entry in folder.iterdir()
    )


def _save(image: Image.Image, path: Path, shown: Path) -> None:
    with _named(shown):
        image.save(path, compress_level=3)  # a third of the time of the default, and a few per cent more bytes


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of a write that name the path, which those of a full disk do not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
