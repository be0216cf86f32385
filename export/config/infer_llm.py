"""Work out an ``LLMConfig`` from tensor shapes, the language model's ``config.json`` and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xsam_edge.export.config.inits import find_part, llm_config
from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.tensor_shapes import Shapes, agree, divide
from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.errors import CheckpointError

_UNTOLD = ("num_attention_heads", "rope_theta", "rms_norm_eps", "sliding_window", "context_length")


def infer_llm(tensors: Shapes, variant: Variant, inits: Path | None, given: Mapping[str, Any]) -> LLMConfig:
    """Work out the language model's sizes. ``given`` holds checked overrides; errors as ``config_from_checkpoint``."""
    vocab, hidden = tensors.shape("llm.model.embed_tokens.weight", 2)
    model_type = variant.config.llm.model_type
    folder = None if inits is None else find_part(inits, "llm", variant.hub.llm, model_type)
    base = _registered(hidden, variant, given) if folder is None else llm_config(folder)
    heads = given.get("num_attention_heads", base.num_heads)
    found = _phi3_sizes(tensors, heads) if model_type == "phi3" else _qwen3_sizes(tensors)
    found = {"hidden_size": hidden, "num_layers": tensors.layers("llm.model.layers")} | found
    if folder is not None:
        told = asdict(base)
        if "num_attention_heads" in given:
            told |= {"num_heads": None, "num_kv_heads": None, "head_dim": None}
        agree("language model", found, told, str(folder / "config.json"))
    agree("language model", found, {"num_heads": given.get("num_attention_heads")}, "--config")
    chosen = {key: given[key] for key in _UNTOLD if key in given and key != "num_attention_heads"}
    return replace(base, **found, **chosen, vocab_size=vocab)


def _registered(hidden: int, variant: Variant, given: Mapping[str, Any]) -> LLMConfig:
    base = variant.config.llm
    absent = [key for key in _UNTOLD if key not in given]
    if hidden != base.hidden_size and absent:
        raise CheckpointError(
            f"the language model has hidden size {hidden}, not the {base.hidden_size} of {variant.name}, and weights "
            f"do not tell {', '.join(absent)}: give the model's inits or set them with --config"
        )
    return base


def _phi3_sizes(tensors: Shapes, heads: int) -> dict[str, int]:
    first = "llm.model.layers.0"
    head_dim = divide(
        tensors.shape(f"{first}.self_attn.o_proj.weight", 2)[1], heads, "columns of Phi-3's o_proj by heads"
    )
    fused = tensors.shape(f"{first}.self_attn.qkv_proj.weight", 2)[0]
    # qkv_proj stacks the heads of queries, then those of keys, then those of values.
    both = divide(fused, head_dim, "rows of Phi-3's qkv_proj by head size") - heads
    return {
        "num_heads": heads,
        "num_kv_heads": divide(both, 2, "key and value heads in Phi-3's qkv_proj"),
        "head_dim": head_dim,
        "intermediate_size": divide(tensors.shape(f"{first}.mlp.gate_up_proj.weight", 2)[0], 2, "rows of gate_up_proj"),
    }


def _qwen3_sizes(tensors: Shapes) -> dict[str, int]:
    first = "llm.model.layers.0"
    (head_dim,) = tensors.shape(f"{first}.self_attn.q_norm.weight", 1)
    query, key = (tensors.shape(f"{first}.self_attn.{name}.weight", 2)[0] for name in ("q_proj", "k_proj"))
    return {
        "num_heads": divide(query, head_dim, "rows of Qwen3's q_proj by head size"),
        "num_kv_heads": divide(key, head_dim, "rows of Qwen3's k_proj by head size"),
        "head_dim": head_dim,
        "intermediate_size": tensors.shape(f"{first}.mlp.gate_proj.weight", 2)[0],
    }
