"""Masks that overlap, as one map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def paint(
    masks: Iterable[NDArray[np.bool_]], size: tuple[int, int], least: Sequence[float] | None = None
) -> tuple[NDArray[np.int32], list[int]]:
    """Give each pixel to the first mask that has it.

    Args:
        masks: bool [H, W] each, the best first.
        size: (H, W).
        least: what share of its pixels each mask must win to be kept; without, one pixel is enough.

    Returns:
        the map, int32 [H, W], in which 0 is no mask and n the n-th that was kept; which ones these were.
    """
    owner = np.zeros(size, np.int32)
    kept: list[int] = []
    for place, mask in enumerate(masks):
        won = mask & (owner == 0)
        count = int(np.count_nonzero(won))
        if count and (least is None or count >= least[place] * np.count_nonzero(mask)):
            kept.append(place)
            owner[won] = len(kept)
    return owner, kept
