"""Outlines of masks, along the edges of pixels, and as COCO and YOLO write them.

An outline is a closed line of corners of pixels, without the first one again at its end. Drawn with the rule of even
and odd crossings it gives the mask, pixel by pixel. A hole belongs to the outline around it: the line goes there and
back again by the same way, as COCO's lists of polygons are united and have no holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime import arguments

Outline = NDArray[np.int64]
Point = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Runs:
    """Straight pieces of edges in one direction, with the mask on the right of whoever walks along them.

    ``line`` is the coordinate that stays, ``start`` and ``stop`` are the one that changes, all int64 [runs].
    """

    line: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    @property
    def backward(self) -> NDArray[np.bool_]:
        """Whether the coordinate falls, bool [runs]."""
        return self.stop < self.start


def outlines(mask: NDArray[np.bool_]) -> list[Outline]:
    """An outline, int64 [n, 2] as (x, y), of each part of bool [H, W]; corners touch without connecting parts.

    The parts are in no particular order; an empty mask has none. Raises InputError for another array.
    """
    arguments.array("mask", mask, np.bool_, ("height", "width"))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.int8)
    across, along = _runs(padded, 1), _runs(padded.T, -1)
    after_across, after_along = _followers(across, along, padded.shape[1])
    rings = _rings(after_across, after_along)
    corner = np.array((left, top), np.int64)
    return [corner + path for path in _with_holes(rings, after_across, across, along)]


def coco_polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """COCO's list of polygons of bool [H, W]: x0, y0, x1, y1, ... in pixels of each part."""
    return [outline.ravel().astype(float).tolist() for outline in outlines(mask)]


def yolo_polygon(mask: NDArray[np.bool_]) -> list[float]:
    """One polygon for bool [H, W], as YOLO has it: x and y in turn, in 0..1 of width and height; [] for an empty mask.

    Parts are joined by a line from the first corner of one to that of each other, and back.
    """
    parts = outlines(mask)
    if not parts:
        return []
    first = parts[0][:1]
    joined = [parts[0]]
    for part in parts[1:]:
        joined += [first, part, part[:1]]
    corners: NDArray[np.float64] = np.concatenate(joined) / (mask.shape[1], mask.shape[0])
    return [float(value) for value in corners.ravel()]


def _runs(padded: NDArray[np.int8], forward: int) -> _Runs:
    """The edges between rows of a mask with a border of zeros; ``forward`` where the mask lies behind the edge."""
    edges = padded[1:] - padded[:-1]
    changed = edges[:, 1:] != edges[:, :-1]
    line, low = np.nonzero(changed & (edges[:, 1:] != 0))
    _, high = np.nonzero(changed & (edges[:, :-1] != 0))
    is_forward = edges[line, low + 1] == forward
    return _Runs(line, np.where(is_forward, low, high), np.where(is_forward, high, low))


def _followers(across: _Runs, along: _Runs, width: int) -> tuple[list[int], list[int]]:
    """The run along columns that each run across follows with, and the other way round.

    Where two begin in one corner, the one that turns right keeps to the same part of the mask.
    """
    # A corner is one number, and twice as many tell the direction in which a run leaves it.
    leaves_across = 2 * (across.line * width + across.start) + across.backward
    leaves_along = 2 * (along.start * width + along.line) + along.backward
    right_of_across = 2 * (across.line * width + across.stop) + across.backward  # right turns down, left turns up
    right_of_along = 2 * (along.stop * width + along.line) + ~along.backward  # down turns left, up turns right
    return _find(leaves_along, right_of_across), _find(leaves_across, right_of_along)


def _find(leaves: NDArray[np.int64], wanted: NDArray[np.int64]) -> list[int]:
    """Indices into ``leaves`` of the wanted ones or, where there is none, of those in the other direction."""
    order = np.argsort(leaves)
    ordered = leaves[order]
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    missed = ordered[places] != wanted
    places[missed] = np.searchsorted(ordered, wanted[missed] ^ 1)
    found: list[int] = order[places].tolist()
    return found


def _rings(after_across: Sequence[int], after_along: Sequence[int]) -> list[list[int]]:
    """Closed lines, each as its runs across in their order."""
    rings, seen = [], bytearray(len(after_across))
    for first in range(len(after_across)):
        ring, run = [], first
        while not seen[run]:
            seen[run] = 1
            ring.append(run)
            run = after_along[after_across[run]]
        if ring:
            rings.append(ring)
    return rings


def _with_holes(
    rings: Sequence[Sequence[int]], after_across: Sequence[int], across: _Runs, along: _Runs
) -> list[list[Point]]:
    """The corners of the outer rings, each with its holes."""
    line, start, stop = across.line.tolist(), across.start.tolist(), across.stop.tolist()
    upward = np.flatnonzero(along.backward)
    columns, lows, highs = along.line[upward], along.stop[upward], along.start[upward]
    detours: dict[int, list[tuple[int, list[Point]]]] = {}  # run along columns -> where it is left, and for which way

    def path(ring: Sequence[int]) -> list[Point]:
        """From the end of the ring's first run to its start."""
        points: list[Point] = []
        for place, run in enumerate(ring):
            points.append((stop[run], line[run]))
            for y, detour in sorted(detours.get(after_across[run], ()), reverse=True):  # runs that have any go up
                points += [(stop[run], y), *detour, (stop[run], y)]
            following = ring[(place + 1) % len(ring)]
            points.append((start[following], line[following]))
        return points

    outer, holes = [], []
    for ring in rings:
        area = sum(line[run] * (start[run] - stop[run]) for run in ring)
        if area > 0:
            outer.append(ring)
            continue
        # Its top left corner, which a run across ends in.
        place = min(range(len(ring)), key=lambda place: (stop[ring[place]], line[ring[place]]))
        holes.append([*ring[place:], *ring[:place]])
    # What a hole is joined to begins farther left than itself, and holes in its own way are there before it.
    for hole in sorted(holes, key=lambda hole: -stop[hole[0]]):
        x, y = stop[hole[0]], line[hole[0]]
        before = np.flatnonzero((lows <= y) & (y < highs) & (columns < x))
        nearest = int(upward[before[columns[before].argmax()]])
        detours.setdefault(nearest, []).append((y, [*path(hole), (x, y)]))
    return [path(ring) for ring in outer]
