"""The files of a result, which ``Result.save`` and ``xsam-segment`` write: a folder of its own.

``overlay.png`` (the picture with its segments), ``NN_<label>.png`` (one mask per segment, 8 bits, 0 and 255),
``ids.png`` (panoptic: segment ids, 0 = void; semantic: class indices, 65,535 = none; 16 bits) and ``result.json``. A
folder is written aside and renamed, so that it is there completely or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.segment import Segment

OVERLAY, IDS, RESULT = "overlay.png", "ids.png", "result.json"
_LABEL_LENGTH = 40  # characters of a label in a file's name
_STEM_BYTES = 200  # a name may have 255


class Saved(Protocol):
    """What a ``Result`` has that is written; it saves itself by this module."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """One mask each."""

    @property
    def id_map(self) -> NDArray[np.int32] | None:
        """The map of a panoptic or semantic result."""

    @property
    def image(self) -> Image.Image | None:
        """What was segmented."""

    def overlay(self) -> Image.Image:
        """The image with its segments."""

    def to_json(self) -> dict[str, Any]:
        """All else."""


def write_result(result: Saved, folder: Path, facts: Mapping[str, Any], overwrite: bool) -> dict[str, Any]:
    """Write the files of one result into ``folder``, which is made; ``facts`` go into ``result.json`` first.

    Returns the names of the files, as paths that begin with ``folder``. There is no overlay without a segment, or
    without the image.

    Raises:
        InputError: the folder exists, and is neither empty nor one that this function wrote and may replace.
        OSError: no room or no permission; nothing is left behind.
    """
    names, has_overlay = _names(result), bool(result.segments) and result.image is not None
    files: dict[str, Any] = {
        "result": str(folder / RESULT),
        "overlay": str(folder / OVERLAY) if has_overlay else None,
        "ids": str(folder / IDS) if result.id_map is not None else None,
        "masks": [str(folder / name) for name in names],
    }
    with _aside(folder, overwrite) as part:
        for segment, name in zip(result.segments, names, strict=True):
            _save(Image.fromarray(segment.mask).convert("L"), part / name, folder / name)
        if result.id_map is not None:
            # A label map of 65,535 classes does not exist; segments are at most as many as queries. -1 wraps around.
            _save(Image.fromarray(result.id_map.astype(np.uint16)), part / IDS, folder / IDS)
        if has_overlay:
            _save(result.overlay(), part / OVERLAY, folder / OVERLAY)
        content = json.dumps({**facts, **result.to_json(), "files": files}, indent=1) + "\n"
        with _named(folder / RESULT):
            (part / RESULT).write_text(content, encoding="utf-8")
    return files


def _names(result: Saved) -> list[str]:
    digits = max(2, len(str(len(result.segments))))
    return [f"{number:0{digits}d}{slug(segment.label or '')}.png" for number, segment in enumerate(result.segments, 1)]


def slug(label: str) -> str:
    """What of a label a file's name may have, behind "_"; "" where that is nothing."""
    text = "".join(c if c.isalnum() else "-" for c in unicodedata.normalize("NFC", label))
    text = "-".join(part for part in text.split("-") if part)[:_LABEL_LENGTH].strip("-")
    return f"_{short(text)}" if text else ""


def short(text: str) -> str:
    """``text`` without its end, as much as a file system takes; ``os.fsencode`` keeps bytes that are no text."""
    while len(os.fsencode(text)) > _STEM_BYTES:
        text = text[:-1]
    return text


@contextmanager
def _aside(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside ``folder`` to write into, which takes its place at the end."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not _is_ours(folder):
            raise InputError(f"{folder} exists and was not written by xsam-segment; move it, or choose another folder")
        if not overwrite:
            raise InputError(
                f"{folder} holds a result already; choose another folder, or allow to overwrite it (`--overwrite`, "
                "`overwrite=True`)"
            )
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
