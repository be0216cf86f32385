from __future__ import annotations

import threading

from tests.runtime.cli.timeless import Clock, Timeless
from xsam_edge.runtime.cli.heartbeat import Heartbeat


def heartbeats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_it_beats_as_often_as_it_is_told_to() -> None:
    clock = Clock()
    condition = Timeless(clock, count=3)
    beats: list[float] = []

    def beat() -> float:
        beats.append(clock.now)
        return 7.0

    heart = Heartbeat(beat, condition)
    assert not heartbeats()
    heart.wake()
    assert condition.done.wait(60)
    assert all(thread.daemon for thread in heartbeats())
    heart.stop()
    assert beats == [100.0, 107.0, 114.0, 121.0] and condition.waits == [7.0] * 4
    assert not heartbeats()


def test_without_work_it_sleeps_until_it_is_woken() -> None:
    condition = Timeless(Clock(), count=0)
    beats: list[int] = []
    heart = Heartbeat(lambda: beats.append(1), condition)
    for count in (1, 2):
        condition.done.clear()
        heart.wake()
        assert condition.done.wait(60)
        with condition:  # free only while the thread waits
            assert len(beats) == count
    heart.stop()
    assert condition.waits == [None, None] and len(beats) == 2


def test_what_never_woke_is_stopped() -> None:
    Heartbeat(lambda: None, threading.Condition()).stop()
    assert not heartbeats()
