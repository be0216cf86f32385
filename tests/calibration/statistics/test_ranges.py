import numpy as np
import pytest

from xsam_edge.calibration.statistics.ranges import METHODS, activation_range, parse_method
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.runtime.errors import InputError

RNG = np.random.default_rng(2)


def stats_of(values: np.ndarray) -> TensorStats:
    rows = np.float32(values).reshape(-1, 1)
    found = TensorStats.empty(1, False)
    found.add(rows.min(0), rows.max(0), np.square(rows).sum(0), rows, len(rows))
    return found


def squared_error(values: np.ndarray, limit: float) -> float:
    step = limit / 127
    return float(np.square(np.clip(np.rint(values / step), -127, 127) * step - values).mean())


OUTLIER = np.append(RNG.standard_normal(200_000), 40.0)
DISTRIBUTIONS = {
    "normal": RNG.standard_normal(50_000),
    "laplace": RNG.laplace(0, 3, 50_000),
    "positive": RNG.exponential(0.01, 50_000),
    "outlier": OUTLIER,
    "large": RNG.standard_normal(50_000) * 1e5,  # beyond the last bin
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_ranges_equal_those_of_the_values(name: str) -> None:
    values = DISTRIBUTIONS[name]
    stats, magnitude = stats_of(values), np.abs(np.float32(values))
    assert activation_range(stats, "minmax") == magnitude.max()
    if name == "large":
        assert all(0 < activation_range(stats, method) <= magnitude.max() for method in METHODS)
        return
    for percent in (50, 99, 99.99):
        exact = np.quantile(magnitude, percent / 100)
        assert activation_range(stats, f"percentile-{percent}") == pytest.approx(exact, rel=0.05)
    best = min(squared_error(values, limit) for limit in magnitude.max() * np.geomspace(1 / 16, 1, 100))
    assert squared_error(values, activation_range(stats, "mse")) < 1.03 * best


def test_an_outlier_is_clipped_by_all_methods_but_minmax() -> None:
    stats = stats_of(OUTLIER)
    assert activation_range(stats) == activation_range(stats, "percentile-99.999") < 6
    assert 4 < activation_range(stats, "entropy") < 8
    assert activation_range(stats, "percentile-100") == 40


def test_entropy_keeps_what_fills_its_range_evenly() -> None:
    assert activation_range(stats_of(RNG.uniform(-3, 3, 100_000)), "entropy") > 2.8


@pytest.mark.parametrize("method", [*METHODS, "percentile-10"])
@pytest.mark.parametrize("value", [0.0, 0.37, 1e-9, -2.0, 1e9])
def test_constant_values_have_a_range(method: str, value: float) -> None:
    found = activation_range(stats_of(np.full(10, value)), method)
    assert found <= abs(np.float32(value)) * (1 + 1e-6)
    assert found > 0 or value == 0


@pytest.mark.parametrize("name", ["max", "percentile-", "percentile-0", "percentile-101", "percentile-x", "mse-1"])
def test_unknown_methods(name: str) -> None:
    with pytest.raises(InputError, match=r"minmax, percentile, entropy, mse|write a percentage above 0"):
        parse_method(name)
