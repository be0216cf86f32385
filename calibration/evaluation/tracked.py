"""What the metrics of tracking share: a frame's truth and tracks, and which of them belong together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.tracking.assignment import assign

MATCH = 0.5
"""The least overlap of a match, where a metric has one."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class TrackedTruth:
    """One frame: the identities that are there, those that were given, and float64 [N, M], how far they overlap, 0..1.

    Identities of different videos are different ones. Raises InputError for overlaps of another shape, or an identity
    that is in the frame twice.
    """

    truth: Sequence[Hashable]
    given: Sequence[Hashable]
    overlap: Floats

    def __post_init__(self) -> None:
        shape = (len(self.truth), len(self.given))
        if self.overlap.shape != shape:
            raise InputError(f"overlaps are {list(self.overlap.shape)}; expected {list(shape)}, truth by tracks")
        for name, identities in (("truth", self.truth), ("tracks", self.given)):
            if len(set(identities)) < len(identities):
                raise InputError(f"an identity of the {name} is in one frame twice; expected each once at most")


def best_pairs(gains: Floats) -> tuple[Indices, Indices]:
    """Rows and columns of [N, M], one to one, whose gains add up to the most; of those above 0."""
    rows, columns = np.nonzero(gains > 0)
    chosen = assign(rows, columns, gains[rows, columns])
    return rows[chosen], columns[chosen]
