"""Statistics on disk: whole or not at all, and continued by the run that was interrupted."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xsam_edge.calibration.statistics.bins import BINS
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.runtime.bundle.constraints import Count
from xsam_edge.runtime.bundle.typed_json import from_json, parse_json
from xsam_edge.runtime.errors import XSamError

_FIELDS = ("lowest", "highest", "squares", "counts", "size")
_DAMAGED = (OSError, AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


class Watched(NamedTuple):
    """What was watched of a tensor."""

    channels: int
    axis: int
    per_channel: bool

    def covers(self, other: Watched) -> bool:
        """Whether these statistics serve where ``other`` are wanted."""
        return self[:2] == other[:2] and self.per_channel >= other.per_channel


@dataclass(frozen=True)
class _Facts:
    """``Saved`` but for the arrays, as JSON."""

    watched: Mapping[str, tuple[int, int, bool]]
    total: Count
    done: Count
    unreadable: tuple[Any, ...]  # names of files, which may hold bytes that are no text
    stage: Count = 0


@dataclass
class Saved:
    """How far a run is: statistics of the first ``done`` of ``total`` pictures, and which of them were unreadable.

    ``watched`` has the keys of ``tensors``. A run by stages has those of the first ``stage`` for the next pictures too.
    """

    watched: Mapping[str, Watched]
    total: int
    tensors: dict[str, TensorStats] = field(default_factory=dict)
    done: int = 0
    unreadable: list[str] = field(default_factory=list)
    stage: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do."""
        return self.done >= self.total


def prepare_folder(folder: Path) -> None:
    """Make the cache folder, before any work. Raises XSamError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise XSamError(f"the cache folder {folder} is not writable; set XSAM_EDGE_CACHE to one that is")


def save(path: Path, state: Saved) -> None:
    """Write atomically: whoever reads finds this state or the one before, never a part of one.

    Raises:
        XSamError: the disk is full, or the folder cannot be written.
    """
    arrays = {
        f"{name}\t{part}": np.asarray(getattr(stats, part)) for name, stats in state.tensors.items() for part in _FIELDS
    }
    facts = {name: getattr(state, name) for name in ("watched", "total", "done", "unreadable", "stage")}
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # another process may save the same statistics
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> Saved | None:
    """What was saved; None where there is nothing, or something damaged, which a new run overwrites."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            facts = from_json(_Facts, parse_json(str(archive["facts"]), str(path)), str(path))
            watched = {name: Watched(*item) for name, item in facts.watched.items()}
            saved = Saved(watched, facts.total, {}, facts.done, list(facts.unreadable), facts.stage)
            for name in watched:
                lowest, highest, squares, counts, size = (archive[f"{name}\t{part}"] for part in _FIELDS)
                if counts.ndim != 2 or counts.shape[1] != BINS:
                    return None
                saved.tensors[name] = TensorStats(lowest, highest, squares, counts, int(size))
            return saved
    except _DAMAGED:
        return None


def _unwritable(path: Path, error: OSError) -> XSamError:
    return XSamError(
        f"calibration statistics cannot be saved as {path} ({error.strerror or error}); free some space, or set "
        "XSAM_EDGE_CACHE to another folder"
    )
