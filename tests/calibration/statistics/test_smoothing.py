from collections.abc import Iterator

import numpy as np
import pytest

from xsam_edge.calibration.statistics.smoothing import divisors, search
from xsam_edge.calibration.statistics.stats import TensorStats


def stats_of(rows: np.ndarray) -> TensorStats:
    found = TensorStats.empty(rows.shape[1], False)
    found.add(rows.min(0), rows.max(0), np.square(rows).sum(0), rows, len(rows))
    return found


def product_error(rows: np.ndarray, weight: np.ndarray, by: np.ndarray) -> float:
    a, b = rows / by, weight * by
    step, steps = np.abs(a).max() / 127, np.abs(b).max(1, keepdims=True) / 127
    return float(np.square((np.rint(a / step) * step) @ (np.rint(b / steps) * steps).T - rows @ weight.T).sum())


def test_smoothing_lowers_the_error_of_a_product_as_expected() -> None:
    rng = np.random.default_rng(0)
    rows, weight = np.float32(rng.standard_normal((500, 32))), np.float32(rng.standard_normal((16, 32)))
    rows[:, 3] *= 60
    readings = []

    def blocks() -> Iterator[np.ndarray]:
        readings.append(1)
        yield weight[:10]
        yield weight[10:]

    found = search(stats_of(rows), blocks)
    measured = product_error(rows, weight, np.ones(32)) / product_error(rows, weight, found.divisors)
    assert found.gain > 10 and measured == pytest.approx(found.gain, rel=0.35)
    assert found.alpha is not None and found.divisors.argmax() == 3 and len(readings) == 2


def test_what_gains_too_little_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    rows, weight = np.float32(rng.uniform(-1, 1, (500, 8))), np.float32(rng.uniform(-1, 1, (64, 8)))
    found = search(stats_of(rows), lambda: [weight], 1.2)
    assert found.alpha is None and found.gain == 1 and (found.divisors == 1).all()


@pytest.mark.parametrize("silent", ["activation", "weight", "both", "nothing seen"])
def test_silence_needs_no_smoothing(silent: str) -> None:
    rows, weight = np.ones((5, 3), np.float32), np.ones((2, 3), np.float32)
    if silent in ("activation", "both"):
        rows[:] = 0
    if silent in ("weight", "both"):
        weight[:] = 0
    stats = TensorStats.empty(3, False) if silent == "nothing seen" else stats_of(rows)
    found = search(stats, lambda: [weight])
    assert (found.divisors == 1).all() and found.gain == 1


def test_divisors_leave_silent_channels_and_stay_in_the_range_of_half_precision() -> None:
    found = divisors(np.float32([0, 1e4, 1, 1]), np.float32([1, 1e-4, 1, 0]), 0.5)
    assert found[0] == found[3] == 1
    assert found.dtype == np.float32 and found.min() >= 2**-10 and found.max() <= 2**10
    assert found[1] / found[2] == pytest.approx((1e4 / 1e-4) ** 0.5, rel=1e-3)
