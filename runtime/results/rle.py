"""Run-length encoding of masks as COCO defines it.

A mask is read column by column; runs alternate, zeros first, so that a mask that starts with a one has a first run
of length 0. The compressed form stores every run from the third on as a difference to the run two before it, and
writes integers as groups of 5 bits, low group first, each as one character from "0" on with bit 5 set when more
follow (``rleToString`` of the COCO API).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.errors import InputError

MAX_GROUPS = 7  # of 5 bits; enough for any difference of 32-bit runs


class Rle(TypedDict):
    """A COCO segmentation: ``size`` is [height, width], ``counts`` the compressed runs."""

    size: list[int]
    counts: str


def encode(mask: NDArray[np.bool_]) -> Rle:
    """Bool [H, W] -> compressed COCO RLE."""
    return Rle(size=[int(side) for side in mask.shape], counts=compress(run_lengths(mask)))


def decode(size: Sequence[int], counts: str | bytes | Sequence[int]) -> NDArray[np.bool_]:
    """COCO RLE -> bool [H, W]; ``counts`` is the compressed string or a list of run lengths.

    Raises InputError for characters that are no RLE and for runs that do not fill the mask exactly.
    """
    if len(size) != 2 or min(size) < 0:
        raise InputError(f"RLE size {list(size)}; expected [height, width]")
    height, width = int(size[0]), int(size[1])
    runs = decompress(counts) if isinstance(counts, str | bytes) else np.asarray(counts, np.int64).reshape(-1)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise InputError(
            f"RLE runs add up to {int(runs.sum())} pixels; expected {height * width} for a {height} x {width} mask"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Run lengths of bool [H, W], zeros first, column by column."""
    flat = np.asarray(mask, bool).ravel(order="F")
    if not len(flat):
        return np.zeros(0, np.int64)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=len(flat))
    return np.concatenate(([0], runs)) if flat[0] else runs


def bounds(runs: NDArray[np.int64], height: int) -> tuple[int, tuple[int, int, int, int]]:
    """Area in pixels and tight box (x0, y0, x1, y1), x1 and y1 exclusive, of the run lengths of a mask so high.

    All are 0 for an empty mask.
    """
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    starts, ends = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if not len(starts):
        return 0, (0, 0, 0, 0)
    first, last = starts // height, ends // height
    # A run that goes on in the next column touches both borders of the mask.
    wraps = bool((first != last).any())
    top, bottom = (0, height) if wraps else (int((starts % height).min()), int((ends % height).max()) + 1)
    return int(lengths.sum()), (int(first[0]), top, int(last[-1]) + 1, bottom)


def compress(runs: NDArray[np.int64]) -> str:
    """Run lengths -> the compressed string."""
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    characters = np.zeros((len(values), MAX_GROUPS), np.uint8)
    used = np.zeros((len(values), MAX_GROUPS), bool)
    more = np.ones(len(values), bool)
    for group in range(MAX_GROUPS):
        bits = values & 0x1F
        values = values >> 5
        used[:, group] = more
        # The last group is the one whose top bit is the sign of all that is left.
        continued = np.where(bits & 0x10, values != -1, values != 0)
        characters[:, group] = bits + 0x20 * continued + 48
        more = more & continued
    return characters[used].tobytes().decode("ascii")


def decompress(counts: str | bytes) -> NDArray[np.int64]:
    """The compressed string -> run lengths. Raises InputError for anything else."""
    try:
        raw = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise InputError("RLE counts hold characters that are not ASCII; expected a COCO compressed string") from None
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() > 0x3F or codes[-1] & 0x20:
        raise InputError("RLE counts are damaged or cut off; expected a COCO compressed string")
    ends = np.flatnonzero(codes & 0x20 == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    groups = ends - starts + 1
    if groups.max() > MAX_GROUPS:
        raise InputError("RLE counts hold a run of more than 32 bits; expected a COCO compressed string")
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, groups))
    runs = np.add.reduceat((codes & 0x1F) << shift, starts)
    runs -= np.where(codes[ends] & 0x10, np.int64(1) << 5 * groups, 0)
    # Undo the differences: each run builds on the one two before it, from the third on (the first stands alone).
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
