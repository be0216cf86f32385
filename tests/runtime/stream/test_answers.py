from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.sources import SourceFrame

RESULT = Result("refer", (), (4, 6))
FACTS: dict[str, Any] = {"index": 3, "timestamp": 0.5, "name": "a", "age_ms": 7.0, "dropped": 0}
FOUND: dict[str, Any] = {**FACTS, "timings": {}, "results": (RESULT,)}
MISSED: dict[str, Any] = {**FACTS, "deadline_ms": 50.0, "stage": "waiting"}


def test_scalars_of_numpy_are_numbers() -> None:
    given = {"index": np.int64(3), "timestamp": np.float32(0.5), "age_ms": np.float64(7), "dropped": np.uint8(0)}
    found, missed = FrameResult(**(FOUND | given)), Late(**(MISSED | given | {"deadline_ms": np.float32(50)}))
    for name in FACTS:
        assert getattr(found, name) == getattr(missed, name) == FACTS[name]
        json.dumps([getattr(found, name), getattr(missed, name)])
    frame = SourceFrame("a.png", np.float32(0.5), np.int64(2))
    assert (frame.timestamp, frame.arrived) == (0.5, 2.0)
    json.dumps(frame.timestamp)


def test_a_stamp_stays_a_whole_number() -> None:
    stamp = 1_790_000_000_123_456_789
    frame = SourceFrame("a.png", stamp_ns=np.int64(stamp))
    assert frame.stamp_ns == stamp and type(frame.stamp_ns) is int
    assert frame.timestamp == pytest.approx(1_790_000_000.123456789)
    assert SourceFrame("a.png", 3.0, stamp_ns=stamp).timestamp == 3.0


def test_the_first_of_a_list_of_results() -> None:
    assert FrameResult(**(FOUND | {"results": [RESULT, RESULT]})).result is RESULT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("index", -1),
        ("index", 0.5),
        ("timestamp", "now"),
        ("timestamp", np.datetime64("2026-01-01")),
        ("timestamp", float("nan")),
        ("name", 3),
        ("age_ms", None),
        ("dropped", -1),
        ("stamp_ns", -1),
        ("stamp_ns", 0.5),
    ],
)
def test_wrong_facts_are_named(name: str, value: object) -> None:
    for kind, given in ((FrameResult, FOUND), (Late, MISSED)):
        with pytest.raises(InputError, match=rf"^{name} is"):
            kind(**(given | {name: value}))


@pytest.mark.parametrize(("name", "value"), [("timings", 3), ("results", None), ("results", ())])
def test_wrong_answers_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} is"):
        FrameResult(**(FOUND | {name: value}))


@pytest.mark.parametrize(("name", "value"), [("deadline_ms", -1), ("stage", "somewhere")])
def test_wrong_misses_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} is"):
        Late(**(MISSED | {name: value}))


@pytest.mark.parametrize(("name", "value"), [("timestamp", "now"), ("arrived", [1]), ("name", 3), ("stamp_ns", 0.5)])
def test_wrong_frames_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} is"):
        SourceFrame("a.png", **{name: value})
