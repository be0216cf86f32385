import threading
import time
from collections.abc import Iterator

import pytest

from xsam_edge.runtime.stream.reader import Reader


def test_items_in_order_then_the_end() -> None:
    reader = Reader(lambda _: iter(range(5)))
    assert [reader.take(5) for _ in range(7)] == [0, 1, 2, 3, 4, None, None]
    assert reader.ended(5)


def test_an_error_behind_the_last_item() -> None:
    def items(_: threading.Event) -> Iterator[int]:
        yield 7
        raise OSError("the cable is out")

    reader = Reader(items)
    assert reader.take(5) == 7
    with pytest.raises(OSError, match="the cable is out"):
        reader.take(5)


def test_an_error_before_there_is_an_iterator() -> None:
    def items(_: threading.Event) -> Iterator[int]:
        raise OSError("no camera")

    with pytest.raises(OSError, match="no camera"):
        Reader(items).take(5)


def test_one_item_is_read_ahead_and_no_more() -> None:
    made: list[int] = []

    def items(_: threading.Event) -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    reader = Reader(items)
    assert reader.take(5) == 0
    time.sleep(0.1)
    assert len(made) <= 3, "one that lies ready, one that waits"
    reader.stop()
    assert reader.ended(5)


def test_a_wait_has_a_limit_and_can_go_on() -> None:
    free = threading.Event()

    def items(_: threading.Event) -> Iterator[int]:
        free.wait(10)
        yield 1

    reader = Reader(items)
    with pytest.raises(TimeoutError):
        reader.take(0.05)
    free.set()
    assert reader.take(5) == 1


def test_stop_ends_a_wait_although_the_iterator_hangs() -> None:
    free, closed = threading.Event(), threading.Event()

    def items(stopped: threading.Event) -> Iterator[int]:
        try:
            free.wait(10)
            assert stopped.is_set()
            yield 1
        finally:
            closed.set()

    reader = Reader(items)
    threading.Timer(0.05, reader.stop).start()
    start = time.monotonic()
    assert reader.take(10) is None
    assert time.monotonic() - start < 5
    assert not reader.ended(0)
    free.set()
    assert reader.ended(5)
    assert closed.is_set()
    assert reader.take(5) is None, "what came too late is thrown away"
