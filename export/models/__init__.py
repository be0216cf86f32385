"""The torch modules of X-SAM, one file per part; parameters carry the names of the main line's checkpoints.

Modules hold no state but parameters and make every constant from sizes, so that they can be built on any device,
traced without weights and loaded afterwards. A new language model is a new file and a line in ``LANGUAGE_MODELS``.
"""

from __future__ import annotations

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.phi3 import Phi3
from xsam_edge.export.models.qwen3 import Qwen3
from xsam_edge.runtime.errors import CheckpointError

LANGUAGE_MODELS: dict[str, type[CausalLM]] = {"phi3": Phi3, "qwen3": Qwen3}


def build_language_model(config: LLMConfig) -> CausalLM:
    """The language model that ``config.model_type`` names.

    Raises:
        CheckpointError: for a type without an implementation.
    """
    if config.model_type not in LANGUAGE_MODELS:
        known = ", ".join(sorted(LANGUAGE_MODELS))
        raise CheckpointError(
            f"language model type {config.model_type!r} is not supported; expected one of {known}: "
            "use a checkpoint of one of these, or add a file to export/models"
        )
    return LANGUAGE_MODELS[config.model_type](config)
