from __future__ import annotations

import pytest

from xsam_edge.runtime.ros.statistics import Statistics, quantile


def test_nothing_yet() -> None:
    report = Statistics().report(100.0)
    assert (report.received, report.answered, report.dropped, report.rate, report.input_rate) == (0, 0, 0, 0.0, 0.0)
    assert report.p50 is report.p95 is report.silence is None


def test_counts_rates_and_latencies() -> None:
    statistics = Statistics(window=10.0)
    for number in range(300):  # 30 Hz for ten seconds, a third of which is answered
        now = 100 + number / 30
        statistics.received(now)
        if number % 3 == 0:
            statistics.answered(now, age_ms=float(number % 100), dropped=2 if number else 0)
    report = statistics.report(110.0)
    assert (report.received, report.answered, report.dropped, report.late, report.damaged) == (300, 100, 198, 0, 0)
    assert report.input_rate == pytest.approx(30)
    assert report.rate == pytest.approx(10)
    assert report.p50 == 49.0 and report.p95 == 94.0
    assert report.silence == pytest.approx(110 - (100 + 299 / 30))


def test_what_is_older_than_the_window_counts_in_totals_alone() -> None:
    statistics = Statistics(window=10.0)
    statistics.received(0.0)
    statistics.answered(0.0, 500.0, 0)
    statistics.received(20.0)
    statistics.answered(20.0, 7.0, 3)
    report = statistics.report(20.5)
    assert (report.received, report.answered, report.p50, report.p95) == (2, 2, 7.0, 7.0)
    assert report.rate == report.input_rate == pytest.approx(0.1)
    assert statistics.report(40.0).rate == 0.0 and statistics.report(40.0).silence == 20.0


def test_what_was_not_answered() -> None:
    statistics = Statistics()
    statistics.late(dropped=4)
    statistics.dropped()
    statistics.damaged()
    report = statistics.report(1.0)
    assert (report.late, report.dropped, report.damaged, report.answered) == (1, 5, 1, 0)


def test_a_rate_of_the_first_second_is_none_of_a_millisecond() -> None:
    statistics = Statistics()
    statistics.received(5.0)
    assert statistics.report(5.001).input_rate == 1.0


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [((), 0.5, None), ((3.0,), 0.95, 3.0), ((1.0, 2.0), 0.5, 1.0), ((1.0, 2.0), 0.51, 2.0), (range(1, 101), 0.95, 95)],
)
def test_quantiles_are_values_that_were_seen(values: tuple[float, ...], share: float, expected: float | None) -> None:
    assert quantile(values, share) == expected
