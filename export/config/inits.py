"""Read the Hugging Face style folders that an X-SAM model was initialised from (the official code's ``inits/``).

Four folders, one per part, each with a ``config.json``; two have a ``preprocessor_config.json``, one a tokenizer.
Everything is read as plain JSON but the language model's configuration, whose defaults and spellings vary between
versions: transformers reads it and optimum normalises its sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.runtime.bundle import typed_json
from xsam_edge.runtime.errors import CheckpointError

LLM_TYPES = ("phi3", "qwen3")

#: Part -> ``model_type`` values of its config.json.
PART_TYPES = {
    "llm": LLM_TYPES,
    "vision_encoder": ("siglip_vision_model", "siglip"),
    "mask_encoder": ("sam", "sam_vision_model"),
    "mask_decoder": ("mask2former",),
}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError when the file is unreadable or holds something else."""
    return typed_json.read_json(path, dict[str, Any], CheckpointError, advice="take the model's own file")


def find_part(inits: Path, part: str, hub_id: str, model_type: str | None = None) -> Path | None:
    """Find one part's folder.

    Args:
        inits: the folder of the parts.
        part: a key of PART_TYPES.
        hub_id: the part's repository; a folder of its name is taken first.
        model_type: the one type to accept, where the part may have several.

    Returns:
        The folder, or None when no part has such a configuration.

    Raises:
        CheckpointError: ``inits`` is no folder, or several folders fit and none has the repository's name.
    """
    if not inits.is_dir():
        raise CheckpointError(f"{inits} is no folder; expected the model's inits with one folder per part")
    types = PART_TYPES[part] if model_type is None else (model_type,)
    fitting = [folder for folder in _parts(inits) if read_json(folder / "config.json").get("model_type") in types]
    named = [folder for folder in fitting if folder.name == hub_id.split("/")[-1]]
    if not named and len(fitting) > 1:
        listed = ", ".join(folder.name for folder in fitting)
        raise CheckpointError(
            f"{inits} has several folders for the {part} ({listed}): keep the one that was trained with"
        )
    return next(iter(named or fitting), None)


def language_models(inits: Path, model_type: str) -> list[Path]:
    """List the folders with a language model of one type."""
    return [folder for folder in _parts(inits) if read_json(folder / "config.json").get("model_type") == model_type]


def vision_section(folder: Path) -> dict[str, Any]:
    """Read the vision settings of a SigLIP or SAM folder: the nested section, or the whole file of a bare tower."""
    content = read_json(folder / "config.json")
    nested = content.get("vision_config")
    return nested if isinstance(nested, dict) else content


def llm_config(folder: Path) -> LLMConfig:
    """Read a language model's ``config.json``; ``vocab_size`` is the file's, not the checkpoint's.

    Raises CheckpointError for a type or feature that is not supported: scaled or partial rotary embeddings, biased
    attention, another activation than SiLU, layers with different windows.
    """
    raw = read_json(folder / "config.json")
    if raw.get("model_type") not in LLM_TYPES:
        raise CheckpointError(f"{folder} holds a {raw.get('model_type')} model; expected one of {', '.join(LLM_TYPES)}")
    _check_supported(folder, raw)
    # Both are slow to import, and only checkpoints need them.
    from optimum.utils import NormalizedConfigManager
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        sizes = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
        heads, hidden = int(sizes.num_attention_heads), int(sizes.hidden_size)
        rope = dict(getattr(config, "rope_parameters", None) or {})
        result = LLMConfig(
            model_type=config.model_type,
            hidden_size=hidden,
            intermediate_size=int(config.intermediate_size),
            num_layers=int(sizes.num_layers),
            num_heads=heads,
            num_kv_heads=int(config.num_key_value_heads or heads),
            head_dim=int(getattr(config, "head_dim", None) or hidden // heads),
            vocab_size=int(sizes.vocab_size),
            rms_norm_eps=float(config.rms_norm_eps),
            rope_theta=float(rope.get("rope_theta") or raw["rope_theta"]),
            sliding_window=_sliding_window(config),
            tie_word_embeddings=bool(config.tie_word_embeddings),
            context_length=int(config.max_position_embeddings),
        )
    except Exception as error:  # whatever a damaged file provokes in two foreign libraries
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{folder / 'config.json'} is unusable: {reason[0][:200]}") from error
    kinds = _layer_kinds(config)
    if len(kinds) > 1:
        raise CheckpointError(f"{folder / 'config.json'} has layers of {len(kinds)} kinds {kinds}: not supported")
    return result


def _parts(inits: Path) -> list[Path]:
    return sorted(path.parent for path in inits.glob("*/config.json"))


def _sliding_window(config: Any) -> int | None:
    # Qwen3 has a switch and a kind per layer besides the length; Phi-3 has the length alone.
    if config.model_type == "qwen3" and _layer_kinds(config) == ["full_attention"]:
        return None
    return None if config.sliding_window is None else int(config.sliding_window)


def _layer_kinds(config: Any) -> list[str]:
    return sorted(set(getattr(config, "layer_types", None) or ()))


def _check_supported(folder: Path, raw: dict[str, Any]) -> None:
    # On the file itself: transformers refuses some of these with messages about its own classes.
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    rope = rope if isinstance(rope, dict) else {"rope_type": rope}
    found = {
        "rope_scaling": (rope.get("rope_type", rope.get("type", "default")), ("default",)),
        "partial_rotary_factor": (rope.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1)), (1, None)),
        "attention_bias": (raw.get("attention_bias", False), (False, None)),
        "hidden_act": (raw.get("hidden_act", "silu"), ("silu", "swish")),
    }
    for key, (value, supported) in found.items():
        if value not in supported:
            raise CheckpointError(f"{folder / 'config.json'} has {key} {value}: not supported")
