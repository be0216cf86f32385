"""How many layers an encoder has, where a checkpoint may leave out those that nothing reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def encoder_depth(present: int, told: int | None, states: Callable[[int], Sequence[int]]) -> int:
    """Give the layers ``present``, or those told if the checkpoint lacks only such that no chosen state needs.

    ``states`` gives the chosen hidden states of an encoder of some depth, counted from 0, and raises InputError when
    there is no such state.
    """
    if told is not None and present < told and max(states(told)) <= present:
        return int(told)
    states(present)
    return present
