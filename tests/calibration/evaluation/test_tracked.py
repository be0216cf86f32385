import numpy as np
import pytest

from xsam_edge.calibration.evaluation.tracked import TrackedTruth, best_pairs
from xsam_edge.runtime.errors import InputError


def test_best_pairs() -> None:
    rows, columns = best_pairs(np.array([[0.9, 0.8, 0.0], [0.8, 0.1, 0.0], [0.0, 0.0, 0.0]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert not len(best_pairs(np.zeros((0, 3)))[0])


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"overlaps are \[1, 2\]; expected \[2, 1\]"):
        TrackedTruth("ab", "x", np.zeros((1, 2)))
    with pytest.raises(InputError, match="identity of the tracks is in one frame twice"):
        TrackedTruth("ab", "xx", np.zeros((2, 2)))
