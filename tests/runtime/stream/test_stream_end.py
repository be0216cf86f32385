import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from tests.runtime.stream.staged import every, stages, threads_of_streams
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.stream import stream as module
from xsam_edge.runtime.stream.stream import FrameStream, Policy

EVERY = Policy(latest=False)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not threads_of_streams()


@pytest.mark.parametrize("deadline", [None, 1000])
@pytest.mark.parametrize("stage", ["prepare", "encode", "answer"])
def test_an_error_of_a_stage_surfaces(stage: str, deadline: float | None) -> None:
    def broken(number: int) -> int:
        if number == 2:
            raise InputError("frame 2 is broken")
        return number

    stream = FrameStream(range(5), stages(**{stage: broken}), Policy(latest=False, deadline=deadline))
    assert [next(stream).index, next(stream).index] == [0, 1]
    with pytest.raises(InputError, match="frame 2 is broken"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_an_error_behind_a_deadline_surfaces() -> None:
    def broken(_: int) -> None:
        time.sleep(0.05)
        raise InputError("broken")

    stream = FrameStream(range(1), stages(broken), Policy(latest=False, deadline=10))
    assert next(stream).late
    with pytest.raises(InputError, match="broken"):
        next(stream)


@pytest.mark.parametrize("latest", [True, False])
def test_an_error_of_the_source_surfaces_behind_its_last_frame(latest: bool) -> None:
    def camera() -> Iterator[int]:
        yield 7
        raise OSError("the cable is out")

    stream = FrameStream(camera(), stages(), Policy(latest))
    assert next(stream).result == 7
    with pytest.raises(OSError, match="the cable is out"):
        next(stream)


def test_what_is_no_source_is_an_error_of_the_consumer() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        next(FrameStream(3, stages(), EVERY))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another tuple"):
        next(FrameStream([(1, 2, 3)], stages(), EVERY))


@pytest.mark.parametrize("policy", [EVERY, Policy(), Policy(deadline=500), Policy(overlap=True)])
def test_leaving_early_ends_the_threads_and_the_source(policy: Policy) -> None:
    closed = threading.Event()

    def camera() -> Iterator[int]:
        try:
            while True:
                time.sleep(0.002)
                yield 0
        finally:
            closed.set()

    with FrameStream(camera(), stages(lambda _: time.sleep(0.01)), policy) as stream:
        for _ in range(3):
            next(stream)
    assert closed.is_set()
    assert not threads_of_streams()
    with pytest.raises(StopIteration):
        next(stream)
    for _ in FrameStream(camera(), stages(), policy):
        break
    assert not threads_of_streams(), "a loop that is left is enough"


def test_a_stream_that_was_never_iterated_starts_nothing() -> None:
    stream = FrameStream(range(3), stages(), EVERY)
    assert not threads_of_streams()
    stream.close()


def test_a_source_is_told_to_stop() -> None:
    class Camera:
        def __init__(self) -> None:
            self.stopped = threading.Event()

        def __iter__(self) -> Iterator[int]:
            yield 0
            self.stopped.wait(30)

        def stop(self) -> None:
            self.stopped.set()

    start = time.monotonic()
    with FrameStream(Camera(), stages(), Policy()) as stream:
        next(stream)
    assert time.monotonic() - start < 2


def test_a_source_that_hangs_is_left_alone_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    free = threading.Event()

    def camera() -> Iterator[int]:
        yield 0
        free.wait(10)

    stream = FrameStream(camera(), stages(), Policy())
    next(stream)
    with pytest.warns(ResourceWarning, match="still waits for a frame"):
        stream.close()
    free.set()
    for thread in threads_of_streams():
        thread.join(2)


@pytest.mark.parametrize("deadline", [None, 5000])
def test_control_c(deadline: float | None) -> None:
    def camera() -> Iterator[int]:
        yield from every(range(1000), 0.005)

    stream = FrameStream(camera(), stages(lambda _: time.sleep(0.005)), Policy(deadline=deadline))
    next(stream)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in stream:
            pass
    timer.join()
    assert not threads_of_streams()


class Picture:
    """A frame whose life can be watched."""


@pytest.mark.parametrize("policy", [EVERY, Policy(), Policy(deadline=2), Policy(overlap=True)])
def test_no_frame_outlives_its_turn(policy: Policy) -> None:
    run_long(policy, 300)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [EVERY, Policy(), Policy(deadline=2), Policy(overlap=True)])
def test_ten_thousand_frames(policy: Policy) -> None:
    run_long(policy, 10_000)


def run_long(policy: Policy, frames: int) -> None:
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()

    def camera() -> Iterator[Picture]:
        for number in range(frames):
            picture = Picture()
            alive.add(picture)
            yield picture
            time.sleep(0.001 * (number % 3 == 0))

    most = threads = 0
    stream = FrameStream(camera(), stages(lambda _: time.sleep(0.001)), policy)
    for _ in stream:
        most, threads = max(most, len(alive)), max(threads, len(threads_of_streams()))
    counts = stream.counts
    assert counts.answered + counts.late + counts.dropped == frames
    assert most <= 8
    assert threads <= 2 + policy.overlap + (policy.deadline is not None)
    del _, stream
    gc.collect()
    assert not alive
