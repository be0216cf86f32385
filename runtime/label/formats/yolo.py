"""YOLO's segmentation: ``labels/`` with a text file a picture, ``images/`` with links to them, ``data.yaml``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from xsam_edge.runtime.label.formats.writer import DataSet
from xsam_edge.runtime.label.records import Picture
from xsam_edge.runtime.results.polygons import yolo_polygon

LABELS, IMAGES, DATA = "labels", "images", "data.yaml"


class Yolo:
    """A line for each segment: its class, from 0 on, and a polygon, x and y in 0..1.

    Folders are those of the pictures. YOLO finds labels by the picture's name without its ending, so that of two
    pictures ``a.jpg`` and ``a.png`` in one folder the second is linked as ``a.png.png``, with ``a.png.txt``.
    """

    def __init__(self, folder: Path, data: DataSet) -> None:
        self._folder = folder
        self._classes = {category.id: number for number, category in enumerate(data.categories)}
        self._names = _Names()
        for name in (LABELS, IMAGES):
            (folder / name).mkdir()
        names = "".join(f"  {number}: {json.dumps(item.name)}\n" for number, item in enumerate(data.categories))
        text = f"# The pictures are links; divide them into train and val.\ntrain: images\nval: images\nnames:\n{names}"
        (folder / DATA).write_text(text, encoding="utf-8")

    def add(self, picture: Picture) -> None:
        """See :class:`Writer`."""
        lines = []
        for segment in picture.segments:
            if corners := yolo_polygon(segment.mask()):
                lines.append(f"{self._classes[segment.category.id]} {' '.join(f'{value:.6g}' for value in corners)}\n")
        stem, ending = self._names.next(picture)
        label, link = self._folder / LABELS / f"{stem}.txt", self._folder / IMAGES / f"{stem}{ending}"
        for path in (label, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(lines), encoding="ascii")
        link.symlink_to(os.path.realpath(picture.path))

    def close(self) -> None:
        """See :class:`Writer`."""


class _Names:
    """Names without their endings, each once, of names that come in their order."""

    def __init__(self) -> None:
        self._run = ""
        self._taken: set[str] = set()

    def next(self, picture: Picture) -> tuple[str, str]:
        """What a picture's files are called, and their ending."""
        name = _printable(picture.name)
        stem, ending = os.path.splitext(name)
        if name != picture.name:
            return f"{stem}-{picture.id:012d}", ending
        folder, slash, file = name.rpartition("/")
        # All that could be called the same begins like this, and stands side by side.
        run = folder + slash + file.partition(".")[0]
        if run != self._run:
            self._run, self._taken = run, set()
        if stem in self._taken:
            stem += ending
        while stem in self._taken:
            stem += "_"
        self._taken.add(stem)
        return stem, ending


def _printable(name: str) -> str:
    """A name without what breaks lists of paths: line breaks, other control characters, bytes that are no text.

    Where that changes it, another picture may have the new one.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace").replace("\\", "_")
    return "".join(character if character.isprintable() or character == " " else "_" for character in text)
