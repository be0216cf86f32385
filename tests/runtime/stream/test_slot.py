import threading
import time
from collections.abc import Callable

import pytest

from xsam_edge.runtime.stream.slot import Slot, relay


def started(life: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=life, daemon=True)
    thread.start()
    return thread


def test_a_newer_item_replaces_the_one_that_was_not_taken() -> None:
    slot = Slot[str](latest=True)
    assert slot.put("old")
    assert slot.put("new")
    assert slot.take() == "new"
    assert slot.take_newer() is None


def test_without_latest_the_putter_waits() -> None:
    slot = Slot[int](latest=False)
    thread = started(lambda: [slot.put(number) for number in range(3)])
    time.sleep(0.02)
    assert thread.is_alive()
    assert [slot.take() for _ in range(3)] == [0, 1, 2]
    thread.join(1)
    assert not thread.is_alive()


@pytest.mark.parametrize("latest", [True, False])
def test_what_was_put_before_the_end_is_taken(latest: bool) -> None:
    slot = Slot[str](latest)
    slot.put("last")
    slot.finish(ValueError("the source broke"))
    assert slot.take() == "last"
    with pytest.raises(ValueError, match="the source broke"):
        slot.take()
    assert not slot.put("too late")


@pytest.mark.parametrize("wait", [Slot.take, Slot.wanted, lambda slot: slot.put("second")])
def test_closing_wakes_whoever_waits(wait: Callable[[Slot[str]], object]) -> None:
    slot = Slot[str](latest=False)
    if wait is not Slot.take:
        slot.put("first")
    answers: list[object] = []
    thread = started(lambda: answers.append(wait(slot)))
    time.sleep(0.02)
    assert thread.is_alive()
    slot.close()
    thread.join(1)
    assert answers in ([None], [False])


def test_an_item_is_wanted_when_its_taker_is_due() -> None:
    slot = Slot[int](latest=True)
    slot.put(0)
    start = time.monotonic()
    slot.take()
    time.sleep(0.1)  # the taker is away
    slot.put(1, making=0.01)
    slot.take()
    back = time.monotonic()
    assert slot.wanted()
    waited = time.monotonic() - back
    assert 0.05 < waited < back - start + 0.1, "as long as it was away, less the time to make an item"


def test_an_item_is_wanted_at_once_by_who_waits() -> None:
    slot = Slot[int](latest=True)
    slot.put(0)
    slot.take()
    time.sleep(0.3)
    slot.put(1)
    slot.take()
    thread = started(slot.take)
    start = time.monotonic()
    assert slot.wanted()
    assert time.monotonic() - start < 0.2
    slot.close()
    thread.join(1)


def test_relay_hands_an_error_on() -> None:
    source, target = Slot[int](latest=False), Slot[float](latest=False)
    thread = started(lambda: relay(source, target, lambda number: 1 / number))
    source.put(2)
    assert target.take() == 0.5
    source.put(0)
    with pytest.raises(ZeroDivisionError):
        target.take()
    thread.join(1)
    assert not thread.is_alive()
    assert not source.put(1), "nobody takes from it any more"
