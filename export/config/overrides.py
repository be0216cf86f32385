"""What ``--config`` may set: facts of a model that its weights cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xsam_edge.runtime.errors import InputError


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_count(value: Any) -> bool:
    return _is_int(value) and value > 0


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _is_layer_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_int, value))


#: Key -> (test of a value, what it means). The first two are parameters of the official XSamModel.
OVERRIDES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "extra_select_layers": (
        _is_layer_list,
        "a list of the mask encoder's hidden states, the last ones feed seg_connector",
    ),
    "visual_select_layer": (_is_int, "the hidden state of both encoders that feeds their projectors, such as -2"),
    "num_attention_heads": (_is_count, "the language model's attention heads"),
    "rope_theta": (_is_positive, "the base of its rotary embedding"),
    "rms_norm_eps": (_is_positive, "the epsilon of its norms"),
    "sliding_window": (lambda value: value is None or _is_count(value), "its attention window in tokens, or null"),
    "context_length": (_is_count, "its greatest number of tokens"),
    "vision_num_attention_heads": (_is_count, "the vision encoder's attention heads"),
    "decoder_num_points": (_is_count, "points per head and level of the pixel decoder's attention"),
    "logit_clamp": (_is_positive, "the bound of class logits"),
}


def check_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Check keys and kinds of values. Raises InputError that lists what is known."""
    for key, value in overrides.items():
        if key not in OVERRIDES:
            raise InputError(f"unknown configuration key {key!r}; expected one of {', '.join(OVERRIDES)}")
        valid, meaning = OVERRIDES[key]
        if not valid(value):
            raise InputError(f"configuration key {key} is {value!r}; expected {meaning}")
    return dict(overrides)


def default_taps(num_layers: int, count: int) -> tuple[int, ...]:
    """Hidden states that feed the connector: the last ``count`` quarter points of the depth (12, 18, 24 of 24)."""
    return tuple(num_layers * quarter // 4 for quarter in range(5 - count, 5))


def choose_taps(chosen: list[int] | None, num_layers: int, count: int) -> tuple[int, ...]:
    """Return the ``count`` taps, counted from 0 = embeddings; of a longer list the last ones, as XSamModel does.

    Raises InputError for a list that is too short or points outside the encoder.
    """
    if chosen is None:
        return default_taps(num_layers, count)
    if len(chosen) < count:
        raise InputError(f"extra_select_layers has {len(chosen)} entries; expected at least {count}")
    return tuple(hidden_state(layer, num_layers, "extra_select_layers") for layer in chosen[-count:])


def hidden_state(index: int, num_layers: int, what: str) -> int:
    """Return a hidden state's index counted from 0. Raises InputError when the encoder has no such state."""
    if not -num_layers - 1 <= index <= num_layers:
        raise InputError(
            f"{what} has {index}; expected {-num_layers - 1} to {num_layers}: the encoder has {num_layers} layers"
        )
    return index if index >= 0 else num_layers + 1 + index
