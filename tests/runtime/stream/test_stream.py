import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.runtime.stream.staged import every, stages, threads_of_streams
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.stream import stream as module
from xsam_edge.runtime.stream.answers import Late
from xsam_edge.runtime.stream.sources import SourceFrame
from xsam_edge.runtime.stream.stream import FrameStream, Policy

EVERY = Policy(latest=False)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not threads_of_streams()


def test_every_frame_in_order() -> None:
    frames = [(0.1 * number, number) for number in range(20)]
    stream = FrameStream(frames, stages(), EVERY)
    seen = list(stream)
    assert [(item.index, item.timestamp, item.dropped) for item in seen] == [(n, 0.1 * n, 0) for n in range(20)]
    assert [item.result for item in seen] == list(range(20))
    assert stream.counts == module.Counts(answered=20)


def test_stamps_and_origins_are_passed_on() -> None:
    first = 1_790_000_000_123_456_789
    frames = [SourceFrame(number, stamp_ns=first + number, origin=("header", number)) for number in range(9)]  # type: ignore[arg-type]
    seen = list(FrameStream(frames, stages(), EVERY))
    late = list(FrameStream(frames, stages(), Policy(latest=False, deadline=1e-6)))
    assert {item.late for item in late} == {True}
    for items in (seen, late):
        assert [(item.stamp_ns, item.origin) for item in items] == [(first + n, ("header", n)) for n in range(9)]


@pytest.mark.parametrize("overlap", [False, True])
def test_old_frames_are_dropped_never_queued(overlap: bool) -> None:
    read, released = threading.Event(), threading.Event()

    def camera() -> Iterator[int]:
        yield 0
        released.wait(5)  # until the first is being answered
        yield from range(1, 10)
        read.set()

    def answer(number: int) -> None:
        if number == 0:
            released.set()
            assert read.wait(5)
            time.sleep(0.05)

    stream = FrameStream(camera(), stages(answer), Policy(overlap=overlap))
    indices = [item.index for item in stream]
    # With overlap one frame is encoded ahead, whichever was the newest when the first left the encoder.
    assert indices[0] == 0
    assert indices[-1] == 9
    assert len(indices) <= (3 if overlap else 2)
    assert stream.counts.dropped == 10 - len(indices)


def test_drops_are_told_with_the_next_frame_and_order_is_kept() -> None:
    frames = every(((float(number), number) for number in range(60)), 0.002)
    stream = FrameStream(frames, stages(lambda _: time.sleep(0.02)), Policy())
    seen = list(stream)
    stamps = [item.timestamp for item in seen]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] == 59, "the newest frame is answered even when no other follows"
    assert sum(item.dropped for item in seen) == stream.counts.dropped == 60 - len(seen)
    assert stream.counts.dropped > 20
    assert [item.dropped for item in seen[1:]] == [b.index - a.index - 1 for a, b in pairwise(seen)]


def test_age_counts_from_the_arrival_of_a_skipping_stream() -> None:
    frames = [SourceFrame(0, arrived=time.monotonic() - 1.0)]
    (seen,) = FrameStream(frames, stages(lambda _: time.sleep(0.05)), Policy())
    assert 1050 <= seen.age_ms < 2000
    assert seen.timings["waiting"] == pytest.approx(seen.age_ms)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_clock_that_is_slow_or_stands_still_makes_no_frame_late(rate: float) -> None:
    """As that of a recording, which is played slowly or paused."""
    start = time.monotonic()
    policy = Policy(deadline=40.0, clock=lambda: 100.0 + rate * (time.monotonic() - start))
    (seen,) = FrameStream([(100.0, 0)], stages(answer=lambda _: time.sleep(0.1)), policy)
    assert not seen.late and seen.age_ms < 40


def test_a_clock_that_is_fast_makes_frames_late_soon() -> None:
    start = time.monotonic()
    policy = Policy(deadline=1000.0, clock=lambda: 100.0 + 20 * (time.monotonic() - start))
    (seen,) = FrameStream([(100.0, 0)], stages(answer=lambda _: time.sleep(0.5)), policy)
    assert seen.late and seen.stage == "answer" and 1000 <= seen.age_ms < 9000


def test_age_by_the_clock_of_the_timestamps() -> None:
    (seen,) = FrameStream([(100.0, 0)], stages(), Policy(clock=lambda: 100.25))
    assert seen.age_ms == pytest.approx(250)


def test_frames_that_are_read_at_will_do_not_age_while_they_wait() -> None:
    seen = list(FrameStream(range(4), stages(lambda _: time.sleep(0.1)), EVERY))
    assert all(100 <= item.age_ms < 190 for item in seen), "it would be 200 with one frame waiting behind another"


def test_a_late_result_becomes_late_in_its_place_and_at_once() -> None:
    def answer(number: int) -> None:
        time.sleep(0.6 if number == 1 else 0)

    stream = FrameStream(range(9), stages(answer), Policy(latest=False, deadline=150))
    assert not next(stream).late
    start = time.monotonic()
    late = next(stream)
    assert time.monotonic() - start < 0.5
    assert isinstance(late, Late)
    assert (late.index, late.stage, late.deadline_ms) == (1, "answer", 150)
    assert late.age_ms >= 150
    rest = list(stream)
    assert [item.index for item in rest] == list(range(2, 9)), "every frame has its item"
    assert stream.counts.late == 1 + sum(item.late for item in rest)
    assert not rest[-1].late
    assert all(item.late or item.result == item.index for item in rest), "a late result is not given to another frame"


def test_nothing_blocks_while_the_graphs_hang() -> None:
    free = threading.Event()
    stream = FrameStream(every(range(1000), 0.01), stages(lambda _: free.wait(5)), Policy(deadline=100))
    start = time.monotonic()
    seen = [next(stream) for _ in range(5)]
    assert time.monotonic() - start < 2.0
    assert [item.late for item in seen] == [True] * 5
    assert [item.stage for item in seen] == ["answer"] + ["waiting"] * 4
    free.set()
    assert any(not item.late for item in (next(stream) for _ in range(5)))
    stream.close()


def test_a_frame_that_comes_too_late_is_not_answered() -> None:
    asked: list[int] = []
    frames = [SourceFrame(0, arrived=time.monotonic() - 1.0)]
    (seen,) = FrameStream(frames, stages(asked.append), Policy(deadline=500))
    assert seen.late
    assert seen.stage == "waiting"
    assert asked == []


def test_a_frame_that_is_given_up_in_the_encoder_is_not_answered() -> None:
    asked: list[int] = []
    work = stages(asked.append, encode=lambda number: time.sleep(0.3 * (number == 0)) or number)
    first, *_ = seen = list(FrameStream(range(3), work, Policy(latest=False, deadline=100)))
    assert first.late
    assert first.stage == "image_encoder"
    assert 0 not in asked
    assert len(seen) == 3


def test_the_next_frame_is_prepared_while_one_is_answered() -> None:
    both = threading.Barrier(2, timeout=5)

    def prepare(number: int) -> int:
        if number > 0:
            both.wait()
        return number

    def answer(number: int) -> None:
        if number < 3:
            both.wait()

    assert len(list(FrameStream(range(4), stages(answer, prepare), EVERY))) == 4


def test_overlap_encodes_the_next_frame_while_one_is_answered() -> None:
    both = threading.Barrier(2, timeout=5)

    def encode(number: int) -> int:
        if number > 0:
            both.wait()
        return number

    def answer(number: int) -> None:
        if number < 3:
            both.wait()

    policy = Policy(latest=False, overlap=True)
    assert len(list(FrameStream(range(4), stages(answer, encode=encode), policy))) == 4


@pytest.mark.parametrize("deadline", [None, 5])
def test_one_graph_at_a_time_without_overlap(deadline: float | None) -> None:
    lock = threading.Lock()

    def alone(value: Any) -> Any:
        assert lock.acquire(blocking=False), "two graphs at once"
        time.sleep(0.004)
        lock.release()
        return value

    assert len(list(FrameStream(range(30), stages(alone, encode=alone), Policy(False, deadline)))) == 30


def test_damaged_frames_are_counted_apart_from_dropped_ones() -> None:
    def prepare(value: Any) -> Any:
        if value in (1, 5, 6):
            raise ImageError(f"{value} is damaged")
        return value

    frames = [SourceFrame(number) for number in range(8)]  # type: ignore[arg-type]
    stream = FrameStream(frames, stages(prepare=prepare), Policy(latest=False))
    assert [(item.index, item.dropped) for item in stream] == [(0, 0), (2, 0), (3, 0), (4, 0), (7, 0)]
    assert (stream.counts.damaged, stream.counts.dropped) == (3, 0)

    slow = FrameStream(every(range(60), 0.002), stages(lambda _: time.sleep(0.01), prepare=prepare), Policy())
    seen = list(slow)
    counts = slow.counts
    assert sum(item.dropped for item in seen) == counts.dropped > 0
    assert counts.answered + counts.dropped + counts.damaged == seen[-1].index + 1

    with pytest.raises(ImageError, match="1 is damaged"):
        list(FrameStream(frames, stages(prepare=prepare), Policy(latest=False, strict=True)))


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_a_deadline_must_be_a_time(deadline: float) -> None:
    with pytest.raises(InputError, match="deadline"):
        Policy(deadline=deadline)
