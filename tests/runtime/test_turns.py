from __future__ import annotations

import signal
import threading
import time

import pytest

from xsam_edge.runtime.turns import Turn


def wait_until(turn: Turn, waiting: int) -> None:
    end = time.monotonic() + 10
    while turn.waiting != waiting:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_came_first_is_served_first() -> None:
    turn, served = Turn(), []

    def take(number: int) -> None:
        with turn:
            served.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    with turn:
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(turn, number + 1)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == list(range(20))


def test_nobody_overtakes_by_coming_back() -> None:
    """The thread that lets go and comes back at once waits behind those that were there."""
    turn, served = Turn(), []

    def take() -> None:
        with turn:
            served.append("other")

    thread = threading.Thread(target=take)
    with turn:
        thread.start()
        wait_until(turn, 1)
    with turn:
        served.append("again")
    thread.join()
    assert served == ["other", "again"]


def test_it_may_be_taken_again_by_its_thread() -> None:
    turn, outside = Turn(), []
    with turn:
        with turn:
            pass
        thread = threading.Thread(target=lambda: turn.__enter__() or outside.append(1))
        thread.start()
        wait_until(turn, 1)
        assert outside == [], "the inner block gave the turn away"
    thread.join()
    assert outside == [1]


def test_one_at_a_time(quick_switches: None) -> None:
    turn, inside, most, done = Turn(), 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(200):
            with turn:
                inside += 1
                most = max(most, inside)
                done += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 1600)


def test_an_error_gives_the_turn_back() -> None:
    turn = Turn()
    with pytest.raises(ValueError, match="broken"), turn, turn:
        raise ValueError("broken")
    thread = threading.Thread(target=turn.__enter__)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_an_interrupt_while_waiting_leaves_the_turn_to_others() -> None:
    turn, served = Turn(), threading.Event()
    let_go = threading.Event()

    def hold() -> None:
        with turn:
            let_go.wait(10)

    def take() -> None:
        with turn:
            served.set()

    holder, after = threading.Thread(target=hold), threading.Thread(target=take)
    holder.start()
    while turn._owner is None:
        time.sleep(0.001)

    def interrupt() -> None:
        wait_until(turn, 1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), turn:
        raise AssertionError("the turn came although it was taken")
    assert turn.waiting == 0
    after.start()
    let_go.set()
    assert served.wait(10)
    holder.join()
    after.join()
