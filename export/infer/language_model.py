"""Work out the language model's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.tensor_shapes import agree, divide
from xsam_edge.export.infer.evidence import Evidence
from xsam_edge.export.infer.language_model_file import read_language_model
from xsam_edge.export.models.architecture import FIRST_LAYER
from xsam_edge.export.models.registry import get_architecture
from xsam_edge.runtime.errors import CheckpointError

_HEADS = ("num_heads", "num_kv_heads", "head_dim")
# What the weights of some type do not tell and nothing else leads to.
_UNSHOWN = ("num_heads", "rope_theta", "rms_norm_eps", "sliding_window", "context_length")


def language_model(evidence: Evidence) -> LLMConfig:
    """Work them out. Raises as ``config_from_checkpoint``."""
    tensors, chosen, registered = evidence.tensors, evidence.chosen("llm"), evidence.variant.config.llm
    vocab, hidden = tensors.shape("llm.model.embed_tokens.weight", 2)
    architecture, folder = get_architecture(registered.model_type), evidence.folder("llm")
    if folder is not None:
        told = read_language_model(folder, architecture)
    else:
        told = asdict(registered) if hidden == registered.hidden_size else {}
    if {"num_heads", "head_dim"} & chosen.keys():
        told = {field: value for field, value in told.items() if field not in _HEADS}
    shown: dict[str, Any] = {
        "hidden_size": hidden,
        "num_layers": tensors.layers("llm.model.layers"),
        **architecture.sizes(tensors, _heads(evidence, told)),
    }
    if folder is not None:
        agree("language model", shown, told, str(folder / "config.json"))
    _check_told(evidence, folder, hidden, {*told, *shown, *chosen})
    shown |= {"model_type": registered.model_type, "vocab_size": vocab}
    return evidence.settle("llm", LLMConfig(**(asdict(registered) | told | shown)), shown)


def _heads(evidence: Evidence, told: Mapping[str, Any]) -> int | None:
    chosen = evidence.chosen("llm")
    if "num_heads" in chosen or "head_dim" not in chosen:
        heads: int | None = chosen.get("num_heads", told.get("num_heads"))
        return heads
    columns = evidence.tensors.shape(f"{FIRST_LAYER}.self_attn.o_proj.weight", 2)[1]
    return divide(columns, chosen["head_dim"], "columns of the language model's o_proj by head size")


def _check_told(evidence: Evidence, folder: Path | None, hidden: int, fields: set[str]) -> None:
    absent = ", ".join(f"llm.{field}" for field in _UNSHOWN if field not in fields)
    if absent and folder is not None:
        raise CheckpointError(f"{folder / 'config.json'} and the weights do not tell {absent}: set them with --config")
    if absent:
        variant = evidence.variant
        raise CheckpointError(
            f"the language model has hidden size {hidden}, not the {variant.config.llm.hidden_size} of {variant.name}, "
            f"and weights do not tell {absent}: give the model's inits or set them with --config"
        )
