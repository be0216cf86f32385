import itertools
import math

import numpy as np
import pytest

from xsam_edge.calibration.evaluation.rejection import ROC_POINTS, Scores, Share, allowed, needed


def test_roc_area_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    present, absent = rng.integers(0, 8, 30) / 8, rng.integers(0, 6, 20) / 8
    pairs = [(p > n) + (p == n) / 2 for p, n in itertools.product(present, absent)]
    assert Scores(present, absent).roc_area() == pytest.approx(np.mean(pairs))
    assert Scores(present, []).roc_area() is None
    assert Scores([], absent).roc_area() is None


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [  # after Newcombe (1998), table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_intervals(count: int, of: int, low: float, high: float) -> None:
    assert Share(count, of).interval == pytest.approx((low, high), abs=5e-5)
    assert Share(count, of).to_json()["rate"] == count / of


def test_a_share_of_nothing_has_no_rate() -> None:
    assert Share(0, 0).to_json() == {"n": 0, "of": 0, "rate": None, "low": None, "high": None}


def test_what_scores_a_threshold_is_found() -> None:
    point = Scores([0.1, 0.9], [0.1, 0.2, 0.3]).at(0.1)
    assert (point.false_alarms, point.hits) == (Share(3, 3), Share(2, 2)), "0.1 in float32 is not below 0.1"
    assert Scores([0.1], [0.1]).at(0.100000002).hits == Share(1, 1), "the same float32"


def test_counts_are_those_of_the_rate_as_it_is_written() -> None:
    assert [needed(rate) for rate in (0.5, 0.05, 0.01, 0.03, 0.07, 0.3, 0.999)] == [2, 20, 100, 34, 15, 4, 2]
    assert allowed(0.29, 100) == 29, "0.29 * 100 is 28.999999999999996"
    for hundredths, asks in itertools.product(range(1, 100), (100, 101, 250, 999)):
        rate = hundredths / 100
        count = allowed(rate, asks)
        assert count / asks <= rate < (count + 1) / asks
        assert allowed(rate, needed(rate)) == 1 and allowed(rate, needed(rate) - 1) == 0
    assert needed(5e-324) > 1e300


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.34, 0.999])
def test_the_threshold_is_the_least_that_keeps_the_rate(rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    absent = rng.integers(1, 40, 200).astype(np.float32) / np.float32(41)  # many ties
    scores = Scores([], absent)
    threshold = scores.least_threshold(rate)
    assert threshold is not None and threshold == np.float32(threshold)
    assert np.mean(absent >= np.float32(threshold)) <= rate
    just_below = np.nextafter(np.float32(threshold), np.float32(0))
    assert np.mean(absent >= just_below) > rate


def test_no_threshold_is_above_one() -> None:
    absent = [1.0, 1.0, 0.5, *[0.1] * 17]
    assert Scores([], absent).least_threshold(0.05) is None, "two of twenty score 1"
    assert Scores([], absent).least_threshold(0.1) == np.nextafter(np.float32(0.5), np.float32(1))
    highest = float(np.nextafter(np.float32(1), np.float32(0)))
    assert Scores([], [highest] * 20).least_threshold(0.05) == 1
    assert Scores([], []).least_threshold(0.05) is None


def test_no_threshold_is_taken_for_zero() -> None:
    assert Scores([], [0.0] * 20).least_threshold(0.05) == np.finfo(np.float32).tiny


def test_a_curve_of_few_scores_has_them_all() -> None:
    curve = Scores([0.75, 0.5, 0.5], [0.5, 0.25]).roc()
    assert curve == [
        {"threshold": 0.75, "false_alarms": 0, "hits": 1 / 3},
        {"threshold": 0.5, "false_alarms": 0.5, "hits": 1},
        {"threshold": 0.25, "false_alarms": 1, "hits": 1},
    ]
    assert Scores([0.5], []).roc() == []


def test_a_long_curve_is_thinned_and_keeps_its_shape() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(rng.beta(5, 2, 3000), rng.beta(2, 5, 2000))
    curve = scores.roc()
    assert len(curve) == ROC_POINTS
    assert curve[-1]["false_alarms"] == curve[-1]["hits"] == 1
    for point in curve:
        exact = scores.at(point["threshold"])
        assert (exact.false_alarms.rate, exact.hits.rate) == (point["false_alarms"], point["hits"])
    x, y = ([0.0, *(point[name] for point in curve)] for name in ("false_alarms", "hits"))
    assert max(np.diff(x) + np.diff(y)) < 2 / ROC_POINTS + 0.01
    area = scores.roc_area()
    assert area is not None and math.isclose(np.trapezoid(y, x), area, abs_tol=1e-3)
