"""From what a user names to a model whose sizes are known. Needs no torch: a memory plan asks no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.export.checkpoint.checkpoint import Checkpoint, open_checkpoint
from xsam_edge.export.config.hub import resolve
from xsam_edge.export.config.naming import detect_line, main_name
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import Variant, get_variant
from xsam_edge.export.infer.config import config_from_checkpoint
from xsam_edge.export.infer.variant import guess_variant
from xsam_edge.runtime.progress import Progress


@dataclass(frozen=True)
class OpenedModel:
    """A checkpoint, its tensors in ``main`` names, and what it was told to be."""

    weights: Checkpoint
    inits: Path | None
    variant: Variant
    config: ModelConfig


def open_model(
    checkpoint: str, inits: Path | None, variant: str, overrides: Mapping[str, Any] | None, progress: Progress
) -> OpenedModel:
    """Open a checkpoint: a file, a folder or a hub id, in either naming line.

    ``inits`` None takes the folder that lies with the checkpoint, ``variant`` "auto" the one that fits.

    Raises:
        CheckpointError: unreadable, unsafe, or of another model.
        InputError: an unknown variant or override.
    """
    path = resolve(checkpoint, progress=progress)
    opened = open_checkpoint(path)
    detect_line(opened)  # also where the variant is given: names of both lines would become one
    inits = inits or opened.inits
    chosen = guess_variant(opened.shapes, inits) if variant == "auto" else get_variant(variant)
    weights = opened.renamed(main_name)
    return OpenedModel(weights, inits, chosen, config_from_checkpoint(weights.shapes, chosen, inits, overrides))
