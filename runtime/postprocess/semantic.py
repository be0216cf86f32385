"""Semantic segmentation (genseg, ovseg): a class for every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.image.resize import COLUMN_BLOCK, Frame, Resizer, Window, input_resizer, scaled_resizer
from xsam_edge.runtime.postprocess.common import Floats, class_scores, require_fraction, resizer_for, sigmoid
from xsam_edge.runtime.postprocess.competition import SLACK, first_argmax

TILE = 16  # pixels of an edge: about a cell of the grid in a large picture, whose bounds are close
STRIP_ROWS = 32  # of the image
STRIP_BYTES = 1 << 23  # of evidence on the input that a strip is made of, at most where that is a row
QUIET = 1e-1  # of the best evidence: what the queries that are taken by their bounds may leave open
_OPEN = -2  # a label that is yet to be found


@dataclass(frozen=True, eq=False)
class Semantic:
    """``label_map`` int32 [H, W] of class indices, -1 where no class is; ``scores`` float32 [C].

    A class scores what its best query does, as a panoptic segment; the official code gives no score.
    """

    label_map: NDArray[np.int32]
    scores: Floats


def semantic_map(
    class_logits: Floats,
    mask_logits: Masks,
    frame: Frame,
    resized: Literal["logits", "evidence"] = "logits",
    threshold: float = 0.0,
) -> Semantic:
    """Per pixel the class with the largest evidence, the sum over queries of score x probability.

    ``resized`` is what is brought to the image's size: mask logits (the official ``img_genseg_postprocess_fn``), or
    the evidence computed on the mask encoder's input (the same function in the code of AAAI 2026).

    With a ``threshold``, which the official code has not, scores below it count as 0, and a pixel whose evidence is
    less than half of it (a query that scores enough is there where its probability is at least a half) has no class.
    """
    require_fraction(threshold=threshold)
    scores = class_scores(class_logits)
    best = scores.max(0)
    scores[scores < np.float32(threshold)] = 0
    label_map = np.empty(frame.image_size, np.int32)
    paint = _paint_by_logits if resized == "logits" else _paint_by_evidence
    # A threshold of 0 leaves nothing out, as no evidence is below it.
    paint(label_map, np.ascontiguousarray(scores.T), np.asarray(mask_logits), frame, np.float32(threshold / 2))
    return Semantic(label_map, best)


def _paint_by_logits(
    label_map: NDArray[np.int32], scores: Floats, mask_logits: Floats, frame: Frame, least: np.float32
) -> None:
    """Label tiles by bounds of their evidence where these leave one class, and the others pixel by pixel."""
    resizer = resizer_for(mask_logits, frame)
    height, width = resizer.size_out
    columns = [resizer.columns.inputs(left, min(left + TILE, width)) for left in range(0, width, TILE)]
    for top in range(0, height, TILE):
        bottom = min(top + TILE, height)
        cells = mask_logits[:, resizer.rows.inputs(top, bottom)]
        low, high = _bounds(_over(np.minimum, cells, columns), _over(np.maximum, cells, columns))
        labels = _sure_labels(scores @ low, scores @ high, least)
        label_map[top:bottom] = np.repeat(labels, TILE)[:width]
        for first, last in _runs(labels == _OPEN, COLUMN_BLOCK // TILE):
            window = Window(top, bottom, first * TILE, min(last * TILE, width))
            bounds = low[:, first:last].min(1), high[:, first:last].max(1)
            label_map[window.slices] = _labels_by_few(scores, mask_logits, resizer, window, bounds, least)
            if (left := _still_open(label_map, window)) is not None:
                for band, logits in resizer.bands(mask_logits, left):
                    label_map[band.slices] = _labels(_evidence(scores, logits), least)


def _labels_by_few(
    scores: Floats,
    mask_logits: Floats,
    resizer: Resizer,
    window: Window,
    bounds: tuple[Floats, Floats],
    least: np.float32,
) -> NDArray[np.int32]:
    """The labels of a window, int32 [rows, columns], from the queries that differ in it and bounds of all others.

    ``bounds`` are the probabilities [Q] of which every query has no less and no more there. ``_OPEN`` is left where
    classes are too close for that.
    """
    low, high = bounds
    sure = (scores @ low).max()
    chosen = np.flatnonzero(~(scores @ high * (1 + SLACK) < sure * (1 - SLACK))).astype(np.int32)
    spread = (high - low) * scores.max(0)
    order = np.argsort(spread)
    quiet = np.zeros(len(spread), bool)
    quiet[order[:-1]] = np.cumsum(spread[order])[:-1] <= QUIET * sure
    few = scores[chosen]
    cells = mask_logits[:, resizer.rows.inputs(window.top, window.bottom)][~quiet]
    told = _evidence(few[:, ~quiet], resizer.render(cells, window, resizer.column_blocks(window)))
    rounding = _rounding(len(scores[0]))
    under = told * (1 - rounding) + (few[:, quiet] @ low[quiet])[:, None, None]
    over = told * (1 + rounding) + (few[:, quiet] @ high[quiet])[:, None, None]
    labels = _sure_labels(under, over, least)
    known = labels >= 0
    labels[known] = chosen[labels[known]]
    return labels


def _still_open(label_map: NDArray[np.int32], window: Window) -> Window | None:
    """The smallest window that holds the pixels of a window which have no label yet; None if none."""
    still = label_map[window.slices] == _OPEN
    rows, columns = np.flatnonzero(still.any(1)), np.flatnonzero(still.any(0))
    if not len(rows):
        return None
    top, left = window.top + int(rows[0]), window.left + int(columns[0])
    return Window(top, window.top + int(rows[-1]) + 1, left, window.left + int(columns[-1]) + 1)


def _paint_by_evidence(
    label_map: NDArray[np.int32], scores: Floats, mask_logits: Floats, frame: Frame, least: np.float32
) -> None:
    """Strips of the image from rows of evidence on the input; in a tile of a strip, of the classes with a chance there.

    An input row that two strips share is computed for each.
    """
    to_input = input_resizer((mask_logits.shape[1], mask_logits.shape[2]), frame)
    to_image = scaled_resizer(frame)
    (height, width), wide = to_image.size_out, frame.scaled_size[1]
    most_rows = STRIP_BYTES // (4 * len(scores) * wide)
    strip = max(1, min(STRIP_ROWS, int((most_rows - to_image.rows.taps) * height / frame.scaled_size[0])))
    tiles = []
    for left in range(0, width, COLUMN_BLOCK):
        right = min(left + COLUMN_BLOCK, width)
        tiles.append((left, right, to_image.column_blocks(Window(0, height, left, right))))
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        rows = to_image.rows.inputs(top, bottom)
        evidence = np.empty((len(scores), rows.stop - rows.start, wide), np.float32)
        for part, logits in to_input.bands(mask_logits, Window(rows.start, rows.stop, 0, wide)):
            evidence[:, part.top - rows.start : part.bottom - rows.start, part.left : part.right] = _evidence(
                scores, logits
            )
        for left, right, blocks in tiles:
            cells = evidence[:, :, blocks[0][1]]
            # Bounds of what is made of these cells, since evidence is never negative.
            lowest, highest = cells.min((1, 2)) * np.float32(1 - SLACK), cells.max((1, 2)) * np.float32(1 + SLACK)
            chosen = np.flatnonzero(~(highest < lowest.max())).astype(np.int32)
            if len(chosen) == 1 and lowest[chosen[0]] >= least:
                label_map[top:bottom, left:right] = chosen[0]
                continue
            tile = Window(top, bottom, left, right)
            label_map[tile.slices] = _labels(to_image.render(evidence[chosen], tile, blocks), least, chosen)


def _over(extreme: np.ufunc, cells: Floats, columns: Sequence[slice]) -> Floats:
    """The least or greatest of float32 [Q, rows, w] over all rows and each of some runs of columns, [Q, runs]."""
    along = extreme.reduce(cells, axis=1)
    starts, last = (np.array([getattr(run, end) for run in columns]) for end in ("start", "stop"))
    found: Floats = along[:, starts]
    for offset in range(1, int((last - starts).max())):
        extreme(found, along[:, np.minimum(starts + offset, last - 1)], out=found)
    return found


def _bounds(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest probability of logits between ``low`` and ``high``, of any shape [Q, ...].

    They leave room for the rounding of sums over the queries.
    """
    with np.errstate(invalid="ignore"):  # not a number has no bounds, and leaves all open
        slack = np.asarray(SLACK * (1 + np.maximum(np.abs(low), np.abs(high))), np.float32)
        rounding = _rounding(len(low))
        return sigmoid(low - slack) * (1 - rounding), sigmoid(high + slack) * (1 + rounding)


def _rounding(queries: int) -> np.float32:
    """By what share a sum over so many queries may be off, and then some."""
    share: np.float32 = np.float32(SLACK + 8 * queries * np.finfo(np.float32).eps)
    return share


def _sure_labels(under: Floats, over: Floats, least: np.float32) -> NDArray[np.int32]:
    """The label where evidence lies between ``under`` and ``over``, [C, ...]: ``_OPEN`` where they leave several."""
    with np.errstate(invalid="ignore"):
        labels: NDArray[np.int32] = under.argmax(0).astype(np.int32)
        surely = np.take_along_axis(under, labels[None], 0)[0]
        nowhere = over.max(0) < least
        np.put_along_axis(over, labels[None], -1, 0)
        labels[~((over.max(0) < surely) & (surely >= least))] = _OPEN
    labels[nowhere] = -1
    return labels


def _runs(flags: NDArray[np.bool_], most: int) -> Iterator[tuple[int, int]]:
    """Where bool [n] is true: (first, behind the last) of every run, in parts of at most ``most``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    for first, last in edges.reshape(-1, 2).tolist():
        for start in range(first, last, most):
            yield start, min(start + most, last)


def _labels(evidence: Floats, least: np.float32, classes: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
    """Of float32 [C, rows, columns] the first of the largest, or -1 below ``least``; ``classes`` are the C indices."""
    largest = first_argmax(evidence)
    labels = largest if classes is None else classes[largest]
    if least:
        labels[np.take_along_axis(evidence, largest[None], 0)[0] < least] = -1
    return labels


def _evidence(scores: Floats, logits: Floats) -> Floats:
    """[C, Q] scores and [Q, rows, columns] mask logits -> [C, rows, columns]."""
    probabilities = sigmoid(logits).reshape(len(logits), -1)
    return (scores @ probabilities).reshape(len(scores), *logits.shape[1:])
