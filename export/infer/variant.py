"""Tell which registered variant a checkpoint is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xsam_edge.export.config.inits import language_models
from xsam_edge.export.config.naming import detect_line
from xsam_edge.export.config.variants import DEMO_VARIANT, VARIANTS, Variant
from xsam_edge.export.models.registry import fitting_types
from xsam_edge.runtime.errors import CheckpointError


def guess_variant(shapes: Mapping[str, tuple[int, ...]], inits: Path | None = None) -> Variant:
    """Tell the variant of a checkpoint from its names (of either line) and shapes.

    Where language models of several types have the same tensors, that of ``inits`` decides. Where several variants
    differ in the prompt only, the language model's sizes do, then the name of its folder in ``inits``.

    Raises:
        CheckpointError: no registered variant fits, or several do and ``inits`` does not tell which.
    """
    sizes = _llm_sizes(shapes)
    line = detect_line(shapes)
    types = fitting_types(shapes)
    folders = {} if inits is None else language_models(inits, types)
    types = tuple(name for name in types if name in folders) or types
    fitting = [v for v in VARIANTS.values() if v.line == line and v.config.llm.model_type in types]
    if not fitting:
        raise CheckpointError(f"no variant has a {' or '.join(types)} language model with names of the {line} line")
    if len(fitting) > 1:
        of_size = [v for v in fitting if (v.config.llm.hidden_size, v.config.llm.num_layers) == sizes]
        fitting = of_size or [v for v in fitting if v.name != DEMO_VARIANT]
    if len(fitting) > 1:
        named = {folder.name for listed in folders.values() for folder in listed}
        fitting = [v for v in fitting if v.hub.llm.split("/")[-1] in named] or fitting
    if len(fitting) > 1:
        names = ", ".join(v.name for v in fitting)
        raise CheckpointError(
            f"the checkpoint could be any of {names}, which differ in the prompt: choose with --variant"
        )
    return fitting[0]


def _llm_sizes(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    norms = [
        name for name in shapes if name.startswith("llm.model.layers.") and name.endswith(".input_layernorm.weight")
    ]
    return (shapes[norms[0]][0] if norms and shapes[norms[0]] else 0), len(norms)
