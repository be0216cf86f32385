from __future__ import annotations

import numpy as np

from xsam_edge.runtime.label.painting import paint


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((1, 10), bool)
    mask[0, start:stop] = True
    return mask


def test_the_first_that_has_a_pixel_keeps_it() -> None:
    owner, kept = paint([bar(0, 4), bar(2, 8), bar(1, 3), bar(0, 10)], (1, 10))
    assert owner.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 3, 3]]
    assert kept == [0, 1, 3]


def test_what_wins_too_little_is_dropped_and_takes_nothing() -> None:
    owner, kept = paint([bar(0, 4), bar(2, 8), bar(3, 10)], (1, 10), [0.8, 0.8, 0.8])
    assert owner.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 2, 2]]  # a share of 4 of 6, then of 6 of 7
    assert kept == [0, 2]
    assert paint([bar(0, 0)], (1, 10))[1] == []
