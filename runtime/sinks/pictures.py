"""A folder with an overlay ``NNNNNN.jpg`` of every answered frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.overlay import draw
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.sinks.tracks import TRACKS
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.tracking.video_tracks import is_tracks

_NAME = re.compile(r"[0-9]{6,}(-[0-9]+)?\.jpg")
_MARK = b"xsam-segment"  # the comment of a picture that this command wrote
_QUALITY = 90


class PictureSink:
    """Writes into a folder, which is made with the first picture; frames and tracks of an earlier run are removed.

    Raises:
        InputError: a file there has the name of one of these, and was not written here; nothing is removed.
        OSError: a file cannot be removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _clear(folder)

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Write the frame with the segments of each result, also where it has none; returns the files."""
        if seen.late:
            return ()
        names = [f"{seen.index:06d}.jpg"]
        if len(seen.results) > 1:
            names = [f"{seen.index:06d}-{number}.jpg" for number, _ in enumerate(seen.results, 1)]
        self.folder.mkdir(parents=True, exist_ok=True)
        for result, name in zip(seen.results, names, strict=True):
            result.overlay().save(self.folder / name, quality=_QUALITY, comment=_MARK)
        return [self.folder / name for name in names]

    def close(self) -> None:
        """Nothing is left to do."""


def _clear(folder: Path) -> None:
    if not folder.is_dir():
        return
    stale = [path for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name) or path.name == TRACKS]
    for path in stale:
        if not _is_ours(path):
            raise InputError(f"{path} was not written by this command; move it, or choose another --output")
    for path in stale:
        path.unlink()


def one_picture(results: Sequence[Result]) -> Image.Image:
    """A frame with the segments of all its results; of several each has a colour of its own."""
    first = results[0]
    if len(results) == 1 or first.image is None:
        return first.overlay()
    segments = [replace(segment, label_id=index) for index, result in enumerate(results) for segment in result]
    return draw(first.image, segments)


def _is_ours(path: Path) -> bool:
    if path.name == TRACKS:
        return is_tracks(path)
    try:
        with Image.open(path) as image:
            return bool(image.info.get("comment") == _MARK)
    except (OSError, ValueError, SyntaxError):  # what is no picture
        return False
