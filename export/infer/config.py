"""Work out a ``ModelConfig`` from a checkpoint's tensor shapes, the files of its parts, and ``--config``.

Weights decide every size they show. ``--config``, the files in ``inits`` and, for a model of the registered sizes, the
variant give what shapes cannot, in this order: attention heads, rotary base, windows, activations. Where weights and
files or ``--config`` both tell, they must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xsam_edge.export.config.check import check_config
from xsam_edge.export.config.overrides import read_overrides
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.tensor_shapes import Shapes
from xsam_edge.export.config.variants import Variant
from xsam_edge.export.infer.evidence import Evidence
from xsam_edge.export.infer.language_model import language_model
from xsam_edge.export.infer.mask_decoder import connector, mask_decoder
from xsam_edge.export.infer.mask_encoder import mask_encoder
from xsam_edge.export.infer.vision_encoder import vision_encoder
from xsam_edge.export.models.registry import fitting_types
from xsam_edge.runtime.errors import CheckpointError


def config_from_checkpoint(
    shapes: Mapping[str, tuple[int, ...]],
    variant: Variant,
    inits: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """Work out the sizes of a model.

    Args:
        shapes: name -> shape of every tensor, in ``main`` names.
        variant: gives the logit clamp, and what shapes cannot tell when ``inits`` does not.
        inits: folder with one configuration folder per part.
        overrides: what ``--config`` sets, see ``read_overrides``.

    Raises:
        InputError: an override that is unknown, of the wrong kind or not that of the weights, or sizes that do not fit
            each other.
        CheckpointError: a tensor is missing, weights and files disagree, a feature is not supported, or neither
            weights, files, variant nor overrides tell something.
    """
    evidence = Evidence(Shapes(shapes), variant, inits, read_overrides(overrides or {}))
    types = fitting_types(shapes)
    if variant.config.llm.model_type not in types:
        raise CheckpointError(
            f"the language model is {' or '.join(types)}, that of {variant.name} is {variant.config.llm.model_type}"
        )
    decoder = mask_decoder(evidence)
    config = ModelConfig(
        llm=language_model(evidence),
        vision_encoder=vision_encoder(evidence),
        mask_encoder=mask_encoder(evidence, decoder.num_levels),
        connector=connector(evidence, decoder),
        mask_decoder=decoder,
    )
    check_config(config)
    return config
