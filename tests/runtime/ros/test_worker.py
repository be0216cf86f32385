"""The worker with a model that sleeps: no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.runtime.ros.sleeping import SleepingModel, message
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.ros import worker as module
from xsam_edge.runtime.ros.faults import Fault, Faults
from xsam_edge.runtime.ros.prompts import FramePrompt, parse
from xsam_edge.runtime.ros.statistics import Report, Statistics
from xsam_edge.runtime.ros.worker import Work, Worker
from xsam_edge.runtime.stream.answers import FrameResult
from xsam_edge.runtime.stream.stream import Policy
from xsam_edge.runtime.tracking.tracker import Tracker


class Rig:
    """A worker, what it delivered, and what it logged."""

    def __init__(
        self,
        prompt: str | None = "a cup",
        seconds: float = 0.0,
        policy: Policy | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self.seen: list[FrameResult] = []
        self.logged: list[Fault] = []
        self.statistics = Statistics()
        self.faults = Faults(self.logged.append)
        work = Work(SleepingModel(seconds), self.image_of, self.deliver, tracker)
        asked = None if prompt is None else parse(prompt)
        self.worker = Worker(work, policy or Policy(), asked, self.statistics, self.faults)

    @staticmethod
    def image_of(given: Any) -> Any:
        if given.encoding == "torn":
            raise ImageError("this one is torn")
        if given.encoding != "rgb8":
            raise InputError(f"the encoding {given.encoding!r} is unknown")
        return np.zeros((40, 60, 3), np.uint8)

    def deliver(self, seen: FrameResult, prompt: FramePrompt) -> None:
        assert all(segment.label in prompt.names for result in seen.results for segment in result)
        self.seen.append(seen)

    def put(self, stamp_ns: int, encoding: str = "rgb8") -> None:
        self.worker.put(message(stamp_ns, encoding=encoding))

    def report(self) -> Report:
        return self.statistics.report(time.monotonic())

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "nothing came"
            time.sleep(0.002)

    def ask(self, stamp_ns: int, encoding: str = "rgb8") -> None:
        """Put a message and wait for its answer."""
        before = len(self.seen)
        self.put(stamp_ns, encoding)
        self.until(lambda: len(self.seen) > before)

    def recover(self, stamp_ns: int) -> None:
        """Put a message again and again until it is answered: what comes in a pause is dropped."""

        def answered() -> bool:
            self.put(stamp_ns)
            time.sleep(0.02)
            return bool(self.seen)

        self.until(answered)


@contextmanager
def running(*args: Any, **options: Any) -> Iterator[Rig]:
    rig = Rig(*args, **options)
    rig.worker.start()
    rig.until(lambda: rig.worker.ready)
    try:
        yield rig
    finally:
        assert rig.worker.stop(20)


def test_stamps_and_headers_pass_through() -> None:
    with running() as rig:
        rig.ask(1_795_879_842_651_526_323)
        (seen,) = rig.seen
        assert seen.stamp_ns == 1_795_879_842_651_526_323
        assert seen.origin.frame_id == "camera"  # type: ignore[attr-defined]


def test_the_newest_frame_is_answered_and_the_others_are_counted() -> None:
    with running(seconds=0.08) as rig:
        for number in range(1, 61):
            rig.put(number)
            time.sleep(1 / 120)
        rig.until(lambda: bool(rig.seen) and rig.seen[-1].stamp_ns == 60)
        report = rig.report()
        assert report.received == 60 and report.answered < 50
        assert report.answered + report.dropped + report.late + report.damaged == 60


def test_a_prompt_changes_from_one_frame_to_the_next() -> None:
    with running() as rig:
        rig.ask(1)
        rig.worker.ask(parse('{"refer": ["a mug", "a plate"]}'))
        rig.ask(2)
    assert [[result[0].label for result in seen.results] for seen in rig.seen] == [["a cup"], ["a mug", "a plate"]]


def test_without_a_prompt_frames_wait_for_one() -> None:
    with running(None) as rig:
        rig.put(1)
        assert rig.report().dropped == 1
        rig.worker.ask(parse("a mug"))
        rig.ask(2)
        assert rig.seen[0].stamp_ns == 2


def test_late_frames_are_counted_and_not_delivered() -> None:
    with running(seconds=0.2, policy=Policy(deadline=50.0)) as rig:
        rig.put(1)
        rig.until(lambda: rig.report().late == 1)
        rig.worker.follow(Policy(deadline=5000.0))
        rig.until(lambda: rig.worker.ready)
        rig.ask(2)
        assert [seen.stamp_ns for seen in rig.seen] == [2]


@pytest.mark.parametrize(("encoding", "said"), [("torn", "this one is torn"), ("xyz", "the encoding 'xyz' is unknown")])
def test_bad_messages_are_one_line(encoding: str, said: str) -> None:
    with running() as rig:
        for number in range(20):
            rig.put(number + 1, encoding)
            rig.until(lambda number=number: rig.report().damaged == number + 1)
        rig.ask(100)
        assert [(fault.kind, fault.message) for fault in rig.logged] == [("image", said)]
        report = rig.report()
        assert (report.answered, report.damaged) == (1, 20)


@pytest.mark.parametrize(("prompt", "said"), [("crash", "there is no memory left"), ("bug", "KeyError: 'a bug'")])
def test_a_model_that_fails_is_asked_again_later(prompt: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.05)
    with running(prompt) as rig:
        rig.put(1)
        rig.until(lambda: bool(rig.logged))
        for number in range(2, 12):
            rig.put(number)
            time.sleep(0.03)
        assert [fault.message for fault in rig.logged] == [said]
        rig.worker.ask(parse("a cup"))
        rig.recover(100)
        assert rig.faults.now(time.monotonic()) == ()


def test_a_prompt_ends_the_pause_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 60.0)
    with running('{"boxes": [[0, 0, 999, 9]]}') as rig:
        rig.put(1)
        rig.until(lambda: bool(rig.logged))
        assert "lies outside" in rig.logged[0].message
        rig.worker.ask(parse("a cup"))
        rig.recover(2)


def test_stop_waits_for_no_frame() -> None:
    rig = Rig(seconds=0.5)
    rig.worker.start()
    rig.until(lambda: rig.worker.ready)
    rig.put(1)
    time.sleep(0.1)
    assert not rig.worker.stop(0.01)
    assert rig.worker.stop(20)
    assert rig.seen == [], "what comes after a stop is told to nobody"
    rig.put(2)
    assert rig.report().dropped == 1


def test_identities_outlive_a_stream_that_begins_anew() -> None:
    with running(tracker=Tracker()) as rig:
        for stamp in (1, 2):
            rig.ask(stamp * 10**8)
        rig.worker.follow(Policy(deadline=5000.0))
        rig.until(lambda: rig.worker.ready)
        rig.recover(3 * 10**8)
    ids = [segment.track_id for seen in rig.seen for result in seen.results for segment in result]
    assert len(ids) >= 3 and set(ids) == {1}
