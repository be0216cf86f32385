from itertools import permutations

import numpy as np
import pytest

from xsam_edge.runtime.tracking.assignment import assign


def chosen(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(gain)
    pairs = assign(rows, columns, gain[rows, columns])
    assert (np.diff(pairs) > 0).all()
    rows, columns = rows[pairs], columns[pairs]
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(pairs)
    return rows, columns


def best(gain: np.ndarray) -> float:
    """By trying everything."""
    gain = gain if gain.shape[0] <= gain.shape[1] else gain.T
    places = np.arange(len(gain))
    return max(float(gain[places, list(order)].sum()) for order in permutations(range(gain.shape[1]), len(gain)))


def test_the_sum_counts_and_not_the_best_pair() -> None:
    rows, columns = chosen(np.array([[0.9, 0.8], [0.8, 0.1]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_what_gains_nothing_is_no_pair() -> None:
    rows, columns = chosen(np.array([[0.5, 0.0], [0.4, 0.0]]))
    assert (rows.tolist(), columns.tolist()) == ([0], [0])
    assert not len(assign(np.zeros(0, int), np.zeros(0, int), np.zeros(0)))


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_no_other_choice_gains_more(share: float, ties: bool) -> None:
    rng = np.random.default_rng(int(10 * share))
    for _ in range(60):
        shape = tuple(rng.integers(1, 6, 2))
        gain = rng.integers(1, 4, shape).astype(float) if ties else rng.random(shape)
        gain *= rng.random(shape) < share
        assert gain[chosen(gain)].sum() == pytest.approx(best(gain))


@pytest.mark.parametrize("shape", [(40, 40), (15, 60), (60, 15)])
def test_as_scipy(shape: tuple[int, int]) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    for share in (0.05, 0.3, 1.0):
        gain = rng.random(shape) * (rng.random(shape) < share)
        assert gain[chosen(gain)].sum() == pytest.approx(gain[optimize.linear_sum_assignment(-gain)].sum())


def test_a_long_chain_is_one_group() -> None:
    # Row i goes with column i and a little better with column i + 1: only all of them together tell.
    count = 300
    rows = np.concatenate([np.arange(count), np.arange(count - 1)])
    columns = np.concatenate([np.arange(count), np.arange(count - 1) + 1])
    pairs = assign(rows[::-1], columns[::-1], np.where(rows == columns, 1.0, 1.001)[::-1])
    assert len(pairs) == count
