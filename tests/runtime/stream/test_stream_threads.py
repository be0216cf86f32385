from __future__ import annotations

import itertools
import threading
import time

import pytest

from tests.runtime.stream.staged import every, stages, threads_of_streams
from xsam_edge.runtime.stream.stream import FrameStream, Policy

POLICIES = [Policy(latest=False), Policy(), Policy(deadline=5000), Policy(overlap=True)]


@pytest.mark.parametrize("policy", POLICIES)
def test_closing_from_another_thread_ends_the_iteration(policy: Policy) -> None:
    silent = threading.Event()

    def camera() -> object:
        yield from range(3)
        silent.wait(20)  # a camera that gives nothing any more

    stream = FrameStream(camera(), stages(), policy)
    threading.Timer(0.2, stream.close).start()
    start = time.monotonic()
    threading.Timer(0.3, silent.set).start()
    seen = [item.index for item in stream]
    assert time.monotonic() - start < 5
    assert seen == sorted(seen)
    assert not threads_of_streams()
    assert next(stream, None) is None


@pytest.mark.parametrize("policy", POLICIES)
def test_closing_from_within_a_question(policy: Policy) -> None:
    stream = FrameStream(every(itertools.count(), 0.001), stages(lambda _: stream.close()), policy)
    seen = list(stream)
    assert len(seen) == 1, "the frame at work is the last"
    assert not threads_of_streams()


def test_each_result_comes_to_one_of_several_threads(quick_switches: None) -> None:
    stream = FrameStream(range(200), stages(), Policy(latest=False))
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(item.index for item in stream)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == list(range(200))
    assert stream.counts.answered == 200
