"""From what a user names (a checkpoint, a variant) to everything that goes into a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xsam_edge.export.bundle import BundleRequest, expected_tensors
from xsam_edge.export.checkpoint.checkpoint import sha256
from xsam_edge.export.config.hub_cache import blob_sha256
from xsam_edge.export.config.licence import licence_of
from xsam_edge.export.config.naming import dead_tensors, match
from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.graph.weights import RandomWeights, WeightSource
from xsam_edge.export.infer.model import OpenedModel, open_model
from xsam_edge.export.precision.plan import FloatType
from xsam_edge.export.settings import settings_for
from xsam_edge.export.tokenizer import read_tokenizer, stand_in_tokenizer
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.manifest import Provenance
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Progress, Step, silent

Accept = Callable[[ModelConfig, WeightSource], None]
"""Is given a model's sizes and its weights, before any is read, and raises where such a model cannot be exported."""


def _any(_config: ModelConfig, _weights: WeightSource) -> None:
    """Accept every model."""


def from_checkpoint(
    checkpoint: str,
    *,
    inits: Path | None = None,
    variant: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    precision: FloatType = "fp32",
    dialect: Dialect = "cpu",
    accept: Accept = _any,
    progress: Progress,
) -> BundleRequest:
    """Open and check a checkpoint: a file, a folder or a hub id, in either naming line.

    Raises:
        XSamError: what ``accept`` raises.
        CheckpointError: unreadable, unsafe, incomplete, or of another model.
        InputError: an unknown variant or override.
    """
    progress(Step("checkpoint: open"))
    model = open_model(checkpoint, inits, variant, overrides, progress)
    config = model.config
    match(expected_tensors(config), model.weights.shapes, dead_tensors(config))
    accept(config, model.weights)
    tokenizer_json, eos = read_tokenizer(model.variant, model.inits, progress)
    return BundleRequest(
        config=config,
        variant=model.variant.name,
        settings=settings_for(config, model.variant, tokenizer_json, eos, model.inits),
        weights=model.weights,
        tokenizer_json=tokenizer_json,
        source=_provenance(checkpoint, model, progress),
        precision=precision,
        dialect=dialect,
    )


def from_random(
    variant: str,
    seed: int,
    *,
    inits: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    precision: FloatType = "fp32",
    dialect: Dialect = "cpu",
    accept: Accept = _any,
) -> BundleRequest:
    """A model of a variant's sizes that was never trained. Without ``inits`` its tokenizer is a stand-in.

    Raises:
        InputError: an unknown variant or size.
    """
    chosen = get_variant(variant)
    config = random_config(chosen, overrides)
    weights = RandomWeights(expected_tensors(config), seed)
    accept(config, weights)
    if inits is not None:
        tokenizer_json, eos = read_tokenizer(chosen, inits, silent)
    else:
        tokenizer_json, eos = stand_in_tokenizer(chosen.prompt, config.llm.vocab_size), None
    return BundleRequest(
        config=config,
        variant=chosen.name,
        settings=settings_for(config, chosen, tokenizer_json, eos, inits),
        weights=weights,
        tokenizer_json=tokenizer_json,
        source=Provenance(f"random weights, seed {seed}", "", chosen.line),
        precision=precision,
        dialect=dialect,
    )


def _text(name: str) -> str:
    """The name of a file as valid Unicode, which a manifest has to be."""
    return name.encode("utf-8", "replace").decode()


def _provenance(checkpoint: str, model: OpenedModel, progress: Progress) -> Provenance:
    hashes = {path: sha256(path, progress) for path in model.weights.files}
    for path, found in hashes.items():
        if (expected := blob_sha256(path)) not in (None, found):
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 is {found[:12]}..., the hub's file has {str(expected)[:12]}...; "
                f"remove {path.resolve()} and download it again"
            )
    return Provenance(
        checkpoint=_text(Path(checkpoint).name or checkpoint),
        sha256="+".join(hashes.values()),
        line=model.variant.line,
        files={_text(path.name): found for path, found in hashes.items()},
        licence=_text(licence_of(model.weights.files[0], Path(checkpoint))),
    )
