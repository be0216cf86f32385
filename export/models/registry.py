"""The known types of language models, found by the name of their file. Needs no torch."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable

from xsam_edge.export.config.variants import VARIANTS, language_model_types
from xsam_edge.export.models.architecture import Architecture
from xsam_edge.runtime.errors import CheckpointError

_ATTENTION_WEIGHT = re.compile(r"llm\.model\.layers\.\d+\.self_attn\.(\w+)\.weight")
_COMMON = "o_proj"  # that every attention has


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


def language_model_type(names: Iterable[str]) -> str:
    """Tell the ``model_type`` of a checkpoint's language model from the names of its tensors.

    Raises CheckpointError when its attention has other weights than those of every known type.
    """
    weights = {match[1] for name in names if (match := _ATTENTION_WEIGHT.fullmatch(name))} - {_COMMON}
    known = {
        config.model_type: set(get_architecture(config.model_type).attention(config))
        for config in (variant.config.llm for variant in VARIANTS.values())
    }
    for model_type, expected in known.items():
        if weights == expected:
            return model_type
    listed = ", ".join(f"{name} ({' '.join(sorted(known[name]))})" for name in sorted(known))
    raise CheckpointError(
        f"the language model is unknown: its attention has {' '.join(sorted(weights)) or 'no weights'}; "
        f"expected those of {listed}"
    )
