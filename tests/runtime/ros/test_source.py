from __future__ import annotations

import threading

import pytest

from tests.runtime.ros.sleeping import message
from xsam_edge.runtime.ros.source import MessageSource, frame_of


def test_the_newest_replaces_what_nobody_took() -> None:
    replaced: list[int] = []
    source = MessageSource(lambda: replaced.append(1))
    for number in range(1, 6):
        source.put(message(number))
    assert len(replaced) == 4
    frames = iter(source)
    assert next(frames).stamp_ns == 5
    source.put(message(6))
    assert next(frames).stamp_ns == 6 and len(replaced) == 4


def test_stop_ends_a_wait() -> None:
    source = MessageSource(lambda: None)
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.extend(source))
    thread.start()
    source.stop()
    thread.join(5)
    assert not thread.is_alive() and seen == []
    source.put(message(1))  # a late callback does no harm


def test_a_stamp_passes_as_whole_nanoseconds() -> None:
    given = message(1_795_879_842_651_526_323)
    frame = frame_of(given, 12.5)
    assert frame.stamp_ns == 1_795_879_842_651_526_323
    assert frame.timestamp == pytest.approx(1_795_879_842.651526)
    assert (frame.image, frame.origin, frame.arrived) == (given, given.header, 12.5)


@pytest.mark.parametrize("stamp", [0, -5_000_000_000])
def test_a_stamp_that_was_not_set_is_none(stamp: int) -> None:
    frame = frame_of(message(stamp), 12.5)
    assert frame.stamp_ns is None and frame.timestamp is None, "its age counts from its arrival"
