from __future__ import annotations

import time

import pytest

from xsam_edge.benchmarks import energy


def test_answers_go_on_until_the_time_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    meter = energy.Counter("test", lambda: 3.0 * len(counted))
    monkeypatch.setattr(energy, "find_meter", lambda _: (meter, ""))
    monkeypatch.setattr(energy, "_SECONDS", 0.2)

    def answer() -> None:
        time.sleep(0.01)
        counted.append(1)

    found = energy.measure(answer, 2, "cpu")
    assert 5 <= found["answers"] == len(counted) <= 20
    assert found["joules_per_answer"] == pytest.approx(3)
    monkeypatch.setattr(energy, "_SECONDS", 0)
    assert energy.measure(answer, 2, "cpu")["answers"] == 2
