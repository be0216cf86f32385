import numpy as np
import pytest

from xsam_edge.calibration.statistics.ranges import activation_range
from xsam_edge.calibration.statistics.stats import NotFiniteError, TensorStats

RNG = np.random.default_rng(1)


def stats_of(*parts: np.ndarray, per_channel: bool = True) -> TensorStats:
    found = TensorStats.empty(parts[0].shape[1], per_channel)
    for rows in parts:
        found.add(rows.min(0), rows.max(0), np.square(rows).sum(0), rows, len(rows))
    return found


def test_parts_add_up_to_the_whole() -> None:
    parts = [np.float32(RNG.standard_normal((count, 4))) for count in (50, 1, 7)]
    whole, added = stats_of(np.concatenate(parts)), stats_of(*parts)
    np.testing.assert_array_equal(whole.counts, added.counts)
    np.testing.assert_array_equal(whole.amax, np.abs(np.concatenate(parts)).max(0))
    np.testing.assert_array_equal(whole.amax, added.amax)
    np.testing.assert_allclose(added.energy, np.square(np.concatenate(parts)).mean(0), rtol=1e-5)
    assert whole.size == added.size == 58 and added.histogram.sum() == 58 * 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_found(bad: float) -> None:
    found = TensorStats.empty(2, False)
    squares = np.float32([1, bad])
    with pytest.raises(NotFiniteError, match="1 of 2 channels"):
        found.add(np.zeros(2, np.float32), np.ones(2, np.float32), squares, np.zeros((1, 2), np.float32), 1)


def test_a_run_without_elements_changes_nothing() -> None:
    found = TensorStats.empty(2, True)
    nothing = np.full(2, np.inf, np.float32)
    found.add(nothing, -nothing, np.zeros(2, np.float32), np.zeros((0, 2), np.float32), 0)
    assert not found.reached and not found.amax.any() and not found.counts.any()
    with pytest.raises(ValueError, match="no data"):
        activation_range(found)


def test_smoothed_statistics_are_those_of_the_divided_activation() -> None:
    rows = np.float32(RNG.standard_normal((5000, 3)) * [1, 20, 0.3])
    divisors = np.float32([0.7, 9.0, 0.4])
    smoothed, direct = stats_of(rows).smoothed(divisors), stats_of(rows / divisors)
    np.testing.assert_allclose(smoothed.amax, direct.amax, rtol=1e-6)
    np.testing.assert_allclose(smoothed.energy, direct.energy, rtol=1e-4)
    for method in ("minmax", "percentile-99", "mse"):
        assert activation_range(smoothed, method) == pytest.approx(activation_range(direct, method), rel=0.05)
    assert smoothed.smoothed(np.ones(3)).histogram.sum() == pytest.approx(rows.size), "can be smoothed again"


def test_one_histogram_moves_with_the_largest_magnitude() -> None:
    rows = np.float32(RNG.standard_normal((5000, 2)))
    before = stats_of(rows, per_channel=False)
    after = before.smoothed(np.float32([4, 4]))
    assert activation_range(after) == pytest.approx(activation_range(before) / 4, rel=0.02)
    silent = stats_of(np.zeros((3, 2), np.float32), per_channel=False).smoothed(np.float32([2, 3]))
    assert activation_range(silent) == 0
