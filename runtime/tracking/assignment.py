"""Which of two sides belong together, so that the gains of all pairs add up to the most: exact, and in NumPy alone.

Shortest augmenting paths (Jonker and Volgenant 1987; Crouse 2016), for each group of pairs that hang together by
itself: where few boxes overlap, groups are small, and most are a single pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def assign(rows: Indices, columns: Indices, gains: NDArray[np.float64]) -> Indices:
    """Choose pairs (``rows[i]``, ``columns[i]``), each row and column once at most, of the greatest sum of gains.

    All are of one length [P]: the pairs that may be chosen, each once, and what each gains, a number above 0. Returns
    the indices of those chosen, int [K], in ascending order. The time that a group takes grows with the cube of its
    size.
    """
    if not len(gains):
        return np.zeros(0, np.intp)
    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    group = _groups(rows, columns)[rows]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    chosen = [_within(part, rows, columns, gains) for part in np.split(order, starts[1:])]
    return np.sort(np.concatenate(chosen))


def _groups(rows: Indices, columns: Indices) -> Indices:
    """The group of each row: rows that share a column, directly or over others, have one number."""
    group = np.arange(rows.max() + 1)
    while True:
        least = np.full(columns.max() + 1, len(group))
        np.minimum.at(least, columns, group[rows])
        merged = group.copy()
        np.minimum.at(merged, rows, least[columns])
        merged = merged[merged]  # a group's number is that of one of its rows, which may have found a lower one
        if np.array_equal(merged, group):
            return group
        group = merged


def _within(pairs: Indices, rows: Indices, columns: Indices, gains: NDArray[np.float64]) -> Indices:
    """Those chosen of the pairs of one group."""
    if len(pairs) == 1:
        return pairs
    own_rows, row = np.unique(rows[pairs], return_inverse=True)
    own_columns, column = np.unique(columns[pairs], return_inverse=True)
    if min(len(own_rows), len(own_columns)) == 1:
        return pairs[[np.argmax(gains[pairs])]]
    gain = np.zeros((len(own_rows), len(own_columns)))
    pair = np.full(gain.shape, -1)
    gain[row, column], pair[row, column] = gains[pairs], pairs
    if len(own_rows) > len(own_columns):
        gain, pair = gain.T, pair.T
    found: Indices = pair[np.arange(len(gain)), _best_columns(gain)]
    return found[found >= 0]  # what gains nothing was no pair


def _best_columns(gain: NDArray[np.float64]) -> Indices:
    """A column for each row of [N, M], N <= M, of the greatest sum."""
    cost = gain.max() - gain
    height, width = cost.shape
    column_of, row_of = np.full(height, -1), np.full(width, -1)
    # Prices of rows and columns: cost - u - v is never below 0, and is 0 where a row has its column.
    u, v = cost.min(1), np.zeros(width)
    for row, column in enumerate(cost.argmin(1)):
        if row_of[column] < 0:
            column_of[row], row_of[column] = column, row
    for start in np.flatnonzero(column_of < 0):
        distance, parent = np.full(width, np.inf), np.full(width, -1)
        done = np.zeros(width, bool)
        row, reached = int(start), 0.0
        while True:
            through = reached + cost[row] - u[row] - v
            nearer = ~done & (through < distance)
            distance[nearer], parent[nearer] = through[nearer], row
            open_ = np.where(done, np.inf, distance)
            nearest = np.flatnonzero(open_ == open_.min())
            free = nearest[row_of[nearest] < 0]  # of columns that are equally near: the way ends there
            column = int(free[0] if len(free) else nearest[0])
            reached = distance[column]
            if row_of[column] < 0:
                break
            done[column], row = True, int(row_of[column])
        u[start] += reached
        u[row_of[done]] += reached - distance[done]
        v[done] -= reached - distance[done]
        while True:  # each row on the way takes the column behind it
            row = parent[column]
            row_of[column], column_of[row], column = row, column, column_of[row]
            if row == start:
                break
    return column_of
