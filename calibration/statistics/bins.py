"""Histograms of magnitudes over bins that are fixed beforehand, read off the bits of a float32.

A bin is a sign-less exponent with the first three bits of the mantissa: eight bins to an octave, each linear inside.
Bins need no range, so that one pass over the data suffices, histograms add up, and a division of a channel moves its
row. A bin is at most 1/8 as wide as the magnitudes in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
BinCounts = npt.NDArray[Any]
"""[channels, BINS] or [1, BINS]; whole numbers as counted, float64 where counts were moved between bins."""

LOWEST, HIGHEST = -16, 16  # octaves: 2**-16 up to 2**16; what lies outside falls into the first or the last bin
PER_OCTAVE = 8
BINS = (HIGHEST - LOWEST) * PER_OCTAVE
_SHIFT = 20  # of the 23 bits of a mantissa three are kept
_FIRST = (127 + LOWEST) * PER_OCTAVE  # 127 is the bias of exponents

# Lower edges of all bins and the upper one of the last.
EDGES = np.ldexp(1.0 + (np.arange(BINS + 1) % PER_OCTAVE) / PER_OCTAVE, LOWEST + np.arange(BINS + 1) // PER_OCTAVE)
EDGES[0] = 0.0  # the first bin takes everything below


def bin_of(values: Array) -> npt.NDArray[np.int32]:
    """The bin of each magnitude; float32 of any shape, C-contiguous."""
    bits = values.view(np.int32) & 0x7FFFFFFF
    bits >>= _SHIFT
    bits -= _FIRST
    return np.clip(bits, 0, BINS - 1, out=bits)


def no_counts(channels: int) -> BinCounts:
    """Zeros, [channels, BINS].

    A channel on its own is counted at most a few hundred times in a run of the graph, all channels together millions
    of times, which 32 bits would not hold for long.
    """
    return np.zeros((channels, BINS), np.uint32 if channels > 1 else np.uint64)


def count(counts: BinCounts, rows: Array) -> None:
    """Count [tokens, channels] in place: a row of ``counts`` for each channel, or one row for all of them."""
    index = bin_of(np.ascontiguousarray(rows, np.float32))
    if len(counts) > 1:
        index += np.arange(len(counts), dtype=np.int32) * BINS
    flat = counts.reshape(-1)
    if index.size < flat.size // 8:  # the one row of a decoded token
        np.add.at(flat, index.reshape(-1), flat.dtype.type(1))
    else:
        flat += np.bincount(index.reshape(-1), minlength=flat.size).astype(flat.dtype)


def rescaled(counts: BinCounts, divisors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """One histogram [BINS] of all channels, each divided by its divisor (> 0); counts spread evenly over their bin."""
    total = np.zeros(BINS + 1)
    for row, divisor in zip(counts, divisors, strict=True):
        below = np.concatenate(([0.0], np.cumsum(row, dtype=np.float64)))
        total += np.interp(EDGES * float(divisor), EDGES, below)
    total[-1] = counts.sum(dtype=np.float64)  # what moved beyond the last edge is kept in the last bin
    return np.diff(total)
