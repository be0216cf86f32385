"""Data sets by name: registered ones, and any folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.samples import DataSet
from xsam_edge.calibration.shapes.dataset import ShapesData
from xsam_edge.runtime.errors import InputError


def _shapes(split: str | None) -> DataSet:
    data: DataSet = ShapesData(split or "test")
    return data


NAMED: dict[str, Callable[[str | None], DataSet]] = {"shapes": _shapes}
"""What makes a data set of a split, by name; None is its usual split."""


def open_data(name: str | Path, *, split: str | None = None) -> DataSet:
    """Open a data set.

    Args:
        name: a registered name, alone or with a split behind a colon ("shapes", "shapes:val"), or a folder. A folder
            that has a registered name is written with its path ("./shapes").
        split: which part; of a folder "val" by default, or the only one.

    Raises:
        InputError: neither a known name nor a folder, an empty split, two splits at once, or a folder that cannot be
            used.
    """
    known, colon, behind = str(name).partition(":")
    is_named = isinstance(name, str) and known in NAMED
    if split == "" or (is_named and colon and not behind):
        raise InputError("the split is empty; name one, or leave it out (is a variable of the shell not set?)")
    if is_named:
        if colon and split is not None and split != behind:
            raise InputError(f"{name!r} names the split {behind!r} and --split {split!r}; give one")
        return NAMED[known](behind if colon else split)
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            f"{str(name)!r} is neither a folder nor a known data set; known are {', '.join(sorted(NAMED))}, "
            "and the path of a folder works too"
        )
    return open_folder(folder, split)
