"""Which of many queries every pixel goes to, without the values of those that have no chance there.

A value of the resized logits is a weighted mean of grid cells, so that the largest and the smallest cell bound it. In a
tile of the image most queries stay below the least that another one reaches: they are neither resized nor compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.image.resize import COLUMN_BLOCK, ColumnBlock, Frame, Resizer, Window
from xsam_edge.runtime.postprocess.common import Floats, resizer_for, sigmoid

TILE_ROWS = 64  # of a tile, which is as wide as a block of columns
SLACK = 1e-5  # relative: far more than what rounding takes a value beyond the cells that it is made of


def compete(
    mask_logits: Floats, scores: Floats, frame: Frame, mask_threshold: float
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Of float32 [K, h, w] and scores [K] in 0..1 the owner of every pixel, who has the largest probability x score.

    Returns:
        its index, int32 [H, W], the first of equals; how many pixels each query won, int64 [K]; at how many its
        probability x score is at least ``mask_threshold``, int64 [K].
    """
    threshold = np.float32(mask_threshold)
    owner = np.empty(frame.image_size, np.int32)
    won = np.zeros(len(scores), np.int64)
    claimed = np.zeros(len(scores), np.int64)
    resizer = resizer_for(mask_logits, frame)
    for tile, block in _tiles(resizer):
        area = (tile.bottom - tile.top) * (tile.right - tile.left)
        cells = mask_logits[:, resizer.rows.inputs(tile.top, tile.bottom)]
        least, most = _bounds(cells[:, :, block[1]], scores)
        rivals = ~(most < least.max())  # not a number has no bounds, and makes all rivals
        claims = least >= threshold
        open_claims = ~claims & ~(most < threshold)
        claimed += area * claims
        if np.count_nonzero(rivals) == 1 and not open_claims.any():
            winner = int(rivals.argmax())
            owner[tile.slices] = winner
            won[winner] += area
            continue
        chosen = np.flatnonzero(rivals | open_claims)
        weighted = sigmoid(resizer.render(cells[chosen], tile, [block]))
        weighted *= scores[chosen, None, None]
        counted = open_claims[chosen]
        claimed[chosen[counted]] += np.count_nonzero(weighted[counted] >= threshold, axis=(1, 2))
        winners = chosen.astype(np.int32)[rivals[chosen]][first_argmax(weighted[rivals[chosen]])]
        owner[tile.slices] = winners
        won += np.bincount(winners.ravel(), minlength=len(scores))
    return owner, won, claimed


def first_argmax(values: Floats) -> NDArray[np.int32]:
    """``values.argmax(0)`` as int32, the first of equals; plane by plane, which is faster along the outer axis."""
    largest: Floats = values[0].copy()
    index = np.zeros(values.shape[1:], np.int32)
    better = np.empty(values.shape[1:], bool)
    for plane in range(1, len(values)):
        np.greater(values[plane], largest, out=better)
        np.maximum(largest, values[plane], out=largest)
        # Planes come in rising order, so that the latest better one is the largest: faster than a masked copy.
        np.maximum(index, better * np.int32(plane), out=index)
    return index


def _tiles(resizer: Resizer) -> Iterator[tuple[Window, ColumnBlock]]:
    """Tiles that cover the image, each with its block of columns."""
    height, width = resizer.size_out
    for left in range(0, width, COLUMN_BLOCK):
        right = min(left + COLUMN_BLOCK, width)
        (block,) = resizer.column_blocks(Window(0, height, left, right))
        for top in range(0, height, TILE_ROWS):
            yield Window(top, min(top + TILE_ROWS, height), left, right), block


def _bounds(cells: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """What probability x score of every query in a tile of these cells, [K, rows, columns], is at least and at most."""
    low, high = cells.min((1, 2)), cells.max((1, 2))
    with np.errstate(invalid="ignore"):
        slack = SLACK * (1 + np.maximum(np.abs(low), np.abs(high)))
        least = sigmoid(low - slack) * scores * np.float32(1 - SLACK)
        return least, sigmoid(high + slack) * scores * np.float32(1 + SLACK)
