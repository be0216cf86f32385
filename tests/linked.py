"""Copies of bundles whose files are links, as tools that keep large files elsewhere lay them out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path


def each_apart(bundle: Path, folder: Path) -> Path:
    """Every file a link into a folder of its own, under another name, as by DVC and git-annex."""
    return _linked(bundle, folder / "work", lambda name: folder / "cache" / name[:2] / name[2:])


def hub_cache(bundle: Path, folder: Path) -> Path:
    """Links of a snapshot into one folder of blobs, as by the Hugging Face hub."""
    return _linked(bundle, folder / "snapshots" / "0123abcd", lambda name: folder / "blobs" / name)


def weights_alone(bundle: Path, folder: Path) -> Path:
    """Only what is large is a link."""
    return _linked(bundle, folder / "work", lambda name: folder / "large" / name, ".data")


def graphs_alone(bundle: Path, folder: Path) -> Path:
    """Graphs are links, and their weights are not."""
    return _linked(bundle, folder / "work", lambda name: folder / "small" / name, ".onnx")


LAYOUTS: Mapping[str, Callable[[Path, Path], Path]] = {
    layout.__name__: layout for layout in (each_apart, hub_cache, weights_alone, graphs_alone)
}


def _linked(bundle: Path, output: Path, place: Callable[[str], Path], suffix: str = "") -> Path:
    output.mkdir(parents=True)
    for file in bundle.iterdir():
        if not file.name.endswith(suffix):
            shutil.copyfile(file, output / file.name)
            continue
        real = place(hashlib.md5(file.name.encode(), usedforsecurity=False).hexdigest())
        real.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, real)
        (output / file.name).symlink_to(real)
    return output
