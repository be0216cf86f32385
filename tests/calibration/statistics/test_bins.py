import numpy as np
import pytest

from xsam_edge.calibration.statistics import bins

RNG = np.random.default_rng(0)


def counted(rows: np.ndarray, channels: int) -> np.ndarray:
    counts = bins.no_counts(channels)
    bins.count(counts, rows)
    return counts


def test_bins_hold_what_lies_between_their_edges() -> None:
    values = np.float32(RNG.uniform(-8, 8, 4000) ** 3)
    index = bins.bin_of(values)
    magnitude = np.abs(values)
    assert (bins.EDGES[index] <= magnitude).all() and (magnitude < bins.EDGES[index + 1]).all()
    assert (np.diff(bins.EDGES)[index[magnitude > 1e-3]] <= magnitude[magnitude > 1e-3] / 8).all()


@pytest.mark.parametrize(("value", "index"), [(0.0, 0), (-0.0, 0), (1e-30, 0), (1e30, bins.BINS - 1)])
def test_what_lies_outside_falls_into_the_outer_bins(value: float, index: int) -> None:
    assert bins.bin_of(np.float32([value, -value])).tolist() == [index, index]


@pytest.mark.parametrize("tokens", [1, 3, 500])
def test_counts_equal_numpys(tokens: int) -> None:
    rows = np.float32(RNG.standard_normal((tokens, 6)) * [1, 10, 0.1, 2, 1e-3, 300])
    for channel, row in enumerate(counted(rows, 6)):
        np.testing.assert_array_equal(row, np.histogram(np.abs(rows[:, channel]), bins.EDGES)[0])
    np.testing.assert_array_equal(counted(rows, 1)[0], np.histogram(np.abs(rows), bins.EDGES)[0])


def test_all_channels_together_count_beyond_32_bits() -> None:
    counts = bins.no_counts(1)
    counts += np.uint64(2**32 - 1)
    bins.count(counts, np.zeros((2, 3), np.float32))
    assert counts[0, 0] == 2**32 + 5


def test_rescaling_equals_counting_rescaled_values() -> None:
    rows = np.float32(RNG.standard_normal((20_000, 3)) * [1, 10, 0.1])
    divisors = np.float32([0.3, 7, 0.05])
    moved = bins.rescaled(counted(rows, 3), divisors)
    direct = counted(rows / divisors, 1)[0]
    assert moved.sum() == pytest.approx(rows.size)
    assert np.abs(np.cumsum(moved) - np.cumsum(direct, dtype=float)).max() < 0.01 * rows.size


def test_rescaling_keeps_what_leaves_the_bins() -> None:
    assert bins.rescaled(counted(np.full((7, 1), 60_000, np.float32), 1), np.array([1e-3]))[-1] == pytest.approx(7)
