import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.stream.reconnect import Reconnect


def test_waits_grow_up_to_the_longest() -> None:
    policy = Reconnect(delay=1, growth=3, longest=10)
    assert [policy.wait(attempt) for attempt in range(5)] == [1, 3, 9, 10, 10]
    assert Reconnect(delay=0.5, growth=1).wait(10**9) == 0.5
    assert Reconnect(delay=0).wait(10**9) == 0
    assert Reconnect(delay=60, longest=30).wait(0) == 30


def test_scalars_of_numpy_are_numbers() -> None:
    policy = Reconnect(np.int64(3), np.float32(0.5), timeout=np.float32(2))  # type: ignore[arg-type]
    assert [type(value) for value in (policy.attempts, policy.delay, policy.timeout)] == [int, float, float]


def test_attempts_of_what_may_be_done() -> None:
    assert (Reconnect().attempts_of(written=False), Reconnect().attempts_of(written=True)) == (5, 0)
    assert Reconnect(attempts=2).attempts_of(written=True) == 2
    assert Reconnect(attempts=0).attempts_of(written=False) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": -1}, "attempts is -1; expected a whole number from 0 on"),
        ({"delay": -0.1}, "delay is -0.1; expected seconds from 0 to 86400"),
        ({"longest": float("inf")}, "longest is inf; expected seconds"),
        ({"growth": 0.5}, "growth is 0.5; expected a factor from 1"),
        ({"timeout": 0}, "timeout is 0; expected seconds above 0 to 86400"),
        ({"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_numbers_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reconnect(**options)  # type: ignore[arg-type]
