"""Read a language model's ``config.json``.

As plain JSON, since transformers takes seconds to import and a memory plan should not. What a file leaves out is what
transformers takes it for, by the model's ``Architecture``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xsam_edge.export.config.inits import read_json
from xsam_edge.export.config.schema import SIZES
from xsam_edge.export.models.architecture import Architecture
from xsam_edge.runtime.errors import CheckpointError, InputError

# Key -> values that are implemented; no type here has more.
_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "rope_scaling": ("default",),
    "partial_rotary_factor": (1, None),
    "attention_bias": (False, None),
    "hidden_act": ("silu", "swish"),
}


def read_language_model(folder: Path, architecture: Architecture) -> dict[str, Any]:
    """Read what ``config.json`` tells: field of ``LLMConfig`` -> value. ``vocab_size`` is the checkpoint's to tell.

    Raises:
        CheckpointError: a feature that is not supported (scaled or partial rotary positions, biased attention, another
            activation than SiLU, layers with different windows, and what the architecture adds), or a damaged file.
    """
    path = folder / "config.json"
    content = read_json(path)
    rope = _rope(content)
    _check_supported(path, content | rope, {**_SUPPORTED, **architecture.supported})
    config = {"rope_theta": 1e4, "tie_word_embeddings": False, **architecture.defaults, **content, **rope}
    try:
        windows = set(architecture.windows(config))
        kinds = max(len(windows), len(set(config.get("layer_types") or ())))
        fields = {} if kinds > 1 else _fields(config | {"sliding_window": windows.pop()})
    except (InputError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is unusable: {error}; download it again") from None
    if kinds > 1:
        raise CheckpointError(
            f"{path} has layers of {kinds} kinds: not supported; use a language model whose layers have one window"
        )
    return fields


def _rope(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of rotary positions, which files of some versions have in an object of their own."""
    rope: dict[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        value = content.get(key) or {}
        rope |= value if isinstance(value, dict) else {"rope_type": value}
    told = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    return told | {"rope_scaling": rope.get("rope_type", rope.get("type", "default"))}


def _check_supported(path: Path, config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    for key, values in supported.items():
        if config.get(key, values[0]) not in values:
            raise CheckpointError(
                f"{path} has {key} {config[key]}: not supported; use a language model with {key} {values[0]}"
            )


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    heads = config.get("num_attention_heads")
    told = {
        "hidden_size": config.get("hidden_size"),
        "intermediate_size": config.get("intermediate_size"),
        "num_layers": config.get("num_hidden_layers"),
        "num_heads": heads,
        "num_kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim"),
        "rms_norm_eps": config["rms_norm_eps"],
        "rope_theta": config["rope_theta"],
        "tie_word_embeddings": config["tie_word_embeddings"] or False,
        "context_length": config["max_position_embeddings"],
    }
    fields = {field: SIZES[f"llm.{field}"].read(value) for field, value in told.items() if value is not None}
    if {"hidden_size", "num_heads"} <= fields.keys():
        fields.setdefault("head_dim", fields["hidden_size"] // fields["num_heads"])
    return fields | {"sliding_window": SIZES["llm.sliding_window"].read(config["sliding_window"])}
