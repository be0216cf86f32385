"""The order in which ``torch.topk(values, k=len(values), sorted=False)`` leaves its result on a CPU.

The official interactive post-processing takes the first of equally good segments in that order, and boxes tie often
(two masks that touch all four edges have the same box). PyTorch partitions around the smallest value with the C++
library's ``nth_element``: quickselect with a median-of-three pivot, then an insertion sort of what is left. The steps
below follow the GNU library's, so that ties fall as they do in the official code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALL = 3  # ranges up to this length are sorted by insertion


def topk_order(values: NDArray[np.float32]) -> list[int]:
    """Indices of float32 [N] in the order described above."""
    order = list(range(len(values)))
    keys = [float(value) for value in values]
    first, last = 0, len(order)
    rounds = 2 * (len(order).bit_length() - 1)
    while last - first > SMALL and rounds:
        rounds -= 1
        # What is searched for is the last place, so that the cut always moves the lower end.
        first = _partition(order, keys, first, last)
    order[first:last] = sorted(order[first:last], key=lambda index: -keys[index])
    return order


def _partition(order: list[int], keys: list[float], first: int, last: int) -> int:
    """Split order[first:last] around the median of three of its values, larger ones first; returns the cut."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    at_a, at_b, at_c = keys[order[a]], keys[order[b]], keys[order[c]]
    if at_a > at_b:
        median = b if at_b > at_c else c if at_a > at_c else a
    else:
        median = a if at_a > at_c else c if at_b > at_c else b
    order[first], order[median] = order[median], order[first]
    pivot = keys[order[first]]
    left, right = first + 1, last
    while True:
        while keys[order[left]] > pivot:
            left += 1
        right -= 1
        while pivot > keys[order[right]]:
            right -= 1
        if left >= right:
            return left
        order[left], order[right] = order[right], order[left]
        left += 1
