"""The known types of language models, found by the name of their file. Needs no torch."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.variants import VARIANTS, language_model_types
from xsam_edge.export.models.architecture import Architecture, Linear
from xsam_edge.runtime.errors import CheckpointError

_ATTENTION_TENSOR = re.compile(r"llm\.model\.layers\.\d+\.self_attn\.(\w+\.(?:weight|bias))")
_COMMON = "o_proj.weight"  # that every attention has


def get_architecture(model_type: str) -> Architecture:
    """Look a type up. Raises CheckpointError that lists the known ones."""
    known = language_model_types()
    if model_type not in known:
        raise CheckpointError(
            f"language model type {model_type!r} is not supported; expected one of {', '.join(known)}: use a "
            "checkpoint of one of these, or add a file to export/models and a variant"
        )
    # By name, since a list of imports would be one more place to touch for a new type.
    architecture = importlib.import_module(f"xsam_edge.export.models.{model_type}").ARCHITECTURE
    assert isinstance(architecture, Architecture)
    return architecture


def fitting_types(names: Iterable[str]) -> tuple[str, ...]:
    """List the types whose attention has the tensors of a checkpoint; some types differ in their configuration only.

    Raises CheckpointError when its attention has other tensors than those of every known type.
    """
    tensors = {match[1] for name in names if (match := _ATTENTION_TENSOR.fullmatch(name))} - {_COMMON}
    known = {
        config.model_type: _attention_tensors(config)
        for config in (variant.config.llm for variant in VARIANTS.values())
    }
    if fitting := tuple(sorted(name for name, expected in known.items() if tensors == expected)):
        return fitting
    listed = ", ".join(f"{name} ({_text(known[name])})" for name in sorted(known))
    raise CheckpointError(
        f"the language model is unknown: its attention has {_text(tensors) or 'no weights'}; expected those of {listed}"
    )


def _attention_tensors(config: LLMConfig) -> set[str]:
    modules = get_architecture(config.model_type).attention(config)
    biases = {f"{name}.bias" for name, module in modules.items() if isinstance(module, Linear) and module.bias}
    return {f"{name}.weight" for name in modules} | biases


def _text(tensors: Iterable[str]) -> str:
    return " ".join(sorted(name.removesuffix(".weight") for name in tensors))
