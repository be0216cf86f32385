"""Arrays between stages, in files of a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.errors import XSamError

Array = npt.NDArray[Any]


class Spool:
    """Arrays by a name and a number. What was put is in a file at once, and mapped when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, number: int, array: Array) -> None:
        """Keep an array, in place of one that has this name and number.

        Raises:
            XSamError: the disk is full.
        """
        path = self._path(name, number)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            partial.replace(path)
        except OSError as error:
            raise XSamError(
                f"{path} cannot be written ({error.strerror or error}); activations wait there from stage to stage: "
                "free some space, or calibrate on fewer pictures with --calibration-samples"
            ) from None

    def get(self, name: str, number: int) -> Array:
        """The array, mapped. Raises KeyError if there is none."""
        path = self._path(name, number)
        if not path.is_file():
            raise KeyError(f"{name} {number}")
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array

    def drop(self, name: str) -> None:
        """Remove all arrays of a name."""
        for path in self.folder.glob(f"{name}.*.npy"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number}.npy"
