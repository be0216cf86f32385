"""Pictures with segments, as journals have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.label.categories import numbered
from xsam_edge.runtime.label.formats.writer import DataSet
from xsam_edge.runtime.label.records import Picture, picture_of
from xsam_edge.runtime.results import rle

CATEGORIES = numbered(["car", "person"], ["road"])
DATA = DataSet(CATEGORIES, "abc")
BECOMES = {category.name: category for category in CATEGORIES}


def mask(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    pixels = np.zeros(size, bool)
    pixels[top:bottom, left:right] = True
    return pixels


def record(name: str, size: tuple[int, int], *segments: tuple[str, float, np.ndarray], **more: Any) -> dict[str, Any]:
    listed = [
        {"label": label, "score": score, "thing": label != "road", "mask": rle.encode(pixels)["counts"]}
        for label, score, pixels in segments
    ]
    return {"picture": name, "size": list(size), "segments": listed, **more}


def random_record(name: str, seed: int, size: tuple[int, int] = (20, 30)) -> dict[str, Any]:
    """Some blobs that overlap, one with a hole."""
    random = np.random.default_rng(seed)
    segments = [("road", 0.5, mask(size, 10, 0, 20, 30))]
    for label in ("car", "person", "car")[: 1 + seed % 3]:
        top, left = random.integers(0, 10), random.integers(0, 20)
        pixels = mask(size, top, left, top + 8, left + 9) & ~mask(size, top + 2, left + 2, top + 4, left + 4)
        segments.append((label, float(random.random()), pixels))
    return record(name, size, *segments)


def write_pictures(folder: Path, names: Sequence[str], size: tuple[int, int] = (20, 30)) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1], (40 * number % 256, 90, 120)).save(path)


def picture(given: dict[str, Any], id: int = 1, folder: Path = Path("/p")) -> Picture:
    return picture_of(given, id, folder / given["picture"], BECOMES)
