"""Hidden states of an encoder: 0 is the embeddings, N the last of N layers, and -1 counts from the end."""

from __future__ import annotations

from collections.abc import Sequence

from xsam_edge.runtime.errors import InputError


def hidden_state(index: int, num_layers: int, name: str) -> int:
    """Return a hidden state's index counted from 0. Raises InputError when the encoder has no such state.

    ``name`` is what the index stands for, in the message.
    """
    if not -num_layers - 1 <= index <= num_layers:
        raise InputError(
            f"{name} has {index}; expected {-num_layers - 1} to {num_layers}: the encoder has {num_layers} layers"
        )
    return index if index >= 0 else num_layers + 1 + index


def default_taps(num_layers: int, count: int) -> tuple[int, ...]:
    """Hidden states that feed the connector: the last ``count`` quarter points of the depth (12, 18, 24 of 24)."""
    return tuple(num_layers * quarter // 4 for quarter in range(5 - count, 5))


def tapped_states(taps: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Return the mask encoder's taps counted from 0. Raises InputError when the encoder has no such state."""
    return tuple(hidden_state(tap, num_layers, "mask_encoder.taps") for tap in taps)
