"""From what a user names (a checkpoint, a variant) to everything that goes into a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from xsam_edge.export.bundle import BundleRequest, expected_tensors
from xsam_edge.export.checkpoint.checkpoint import Checkpoint, sha256
from xsam_edge.export.config.hub import download_tokenizer
from xsam_edge.export.config.inits import find_part, read_json
from xsam_edge.export.config.input_settings import mask_input, vision_input
from xsam_edge.export.config.naming import dead_tensors, match
from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import Variant, get_variant
from xsam_edge.export.graph.graphs import level_sizes
from xsam_edge.export.graph.weights import RandomWeights
from xsam_edge.export.infer.model import open_model
from xsam_edge.export.precision.plan import FloatType
from xsam_edge.export.tokenizer import SPECIAL_TOKENS, stand_in_tokenizer, with_special_tokens
from xsam_edge.runtime.bundle.manifest import Provenance
from xsam_edge.runtime.bundle.settings import ModelFacts, Settings, SpecialTokens
from xsam_edge.runtime.bundle.typed_json import from_json
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import Progress, Step, silent

_CHECK = "check the files of the model's inits and what --config sets"


def from_checkpoint(
    checkpoint: str,
    *,
    inits: Path | None = None,
    variant: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    precision: FloatType = "fp32",
    progress: Progress,
) -> BundleRequest:
    """Open and check a checkpoint: a file, a folder or a hub id, in either naming line.

    Raises:
        CheckpointError: unreadable, unsafe, incomplete, or of another model.
        InputError: an unknown variant or override.
    """
    progress(Step("checkpoint: open"))
    model = open_model(checkpoint, inits, variant, overrides, progress)
    config = model.config
    match(expected_tensors(config), model.weights.shapes, dead_tensors(config))
    tokenizer_json, eos = _tokenizer(model.variant, model.inits, progress)
    return BundleRequest(
        config=config,
        variant=model.variant.name,
        settings=settings_for(config, model.variant, tokenizer_json, eos, model.inits),
        weights=model.weights,
        tokenizer_json=tokenizer_json,
        source=Provenance(
            _text(Path(checkpoint).name or checkpoint), _hash(model.weights, progress), model.variant.line
        ),
        precision=precision,
    )


def from_random(
    variant: str,
    seed: int,
    *,
    inits: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    precision: FloatType = "fp32",
) -> BundleRequest:
    """A model of a variant's sizes that was never trained. Without ``inits`` its tokenizer is a stand-in.

    Raises:
        InputError: an unknown variant or size.
    """
    chosen = get_variant(variant)
    config = random_config(chosen, overrides)
    if inits is not None:
        tokenizer_json, eos = _tokenizer(chosen, inits, silent)
    else:
        tokenizer_json, eos = stand_in_tokenizer(chosen.prompt, config.llm.vocab_size), None
    return BundleRequest(
        config=config,
        variant=chosen.name,
        settings=settings_for(config, chosen, tokenizer_json, eos, inits),
        weights=RandomWeights(expected_tensors(config), seed),
        tokenizer_json=tokenizer_json,
        source=Provenance(f"random weights, seed {seed}", "", chosen.line),
        precision=precision,
    )


def settings_for(
    config: ModelConfig, variant: Variant, tokenizer_json: str, eos: str | None, inits: Path | None
) -> Settings:
    """What the runtime has to know of a model.

    Raises:
        CheckpointError: the tokenizer has more tokens than the checkpoint has embeddings, or the runtime would refuse
            a value: an image that is divided by 0, a context shorter than an image.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    if (size := tokenizer.get_vocab_size()) > config.llm.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {size} tokens, the checkpoint {config.llm.vocab_size} embeddings; "
            "give the inits that the checkpoint was trained with"
        )
    side = (config.mask_encoder.grid + 1) // 2  # pixel shuffle pads odd grids
    seg, phrase_start, phrase_end = (_special_id(tokenizer, token) for token in SPECIAL_TOKENS)
    settings = Settings(
        model=ModelFacts(
            hidden_size=config.llm.hidden_size,
            embed_size=config.mask_decoder.hidden_dim,
            vocab_size=config.llm.vocab_size,
            num_layers=config.llm.num_layers,
            num_kv_heads=config.llm.num_kv_heads,
            head_dim=config.llm.head_dim,
            context_length=config.llm.context_length,
            image_tokens=config.vision_tokens + config.mask_tokens,
            region_grid=(side, side),
            mask_grid=level_sizes(config)[-1],
            num_queries=config.mask_decoder.num_queries,
        ),
        vision_input=vision_input(config, variant, inits),
        mask_input=mask_input(config, variant, inits),
        prompt=variant.prompt,
        regions=variant.regions,
        tokens=SpecialTokens(seg, phrase_start, phrase_end, None if eos is None else tokenizer.token_to_id(eos)),
        interactive_match=variant.interactive_match,
        semantic_resize=variant.semantic_resize,
    )
    # As read from a manifest, before hours of export.
    return from_json(Settings, asdict(settings), "the model's settings", CheckpointError, advice=_CHECK)


def _special_id(tokenizer: Tokenizer, token: str) -> int:
    index = tokenizer.token_to_id(token)
    assert index is not None, token  # ``with_special_tokens`` added it
    return index


def _tokenizer(variant: Variant, inits: Path | None, progress: Progress) -> tuple[str, str | None]:
    """The tokenizer with X-SAM's tokens, and the text of its end token."""
    folder = find_part(inits, "llm", variant) if inits else None
    folder = folder or download_tokenizer(variant, progress)
    try:
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder} has no readable tokenizer.json ({error}); download the part again") from None
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return with_special_tokens(tokenizer_json), None
    config = read_json(path)
    eos = config.get("eos_token")
    content = eos.get("content") if isinstance(eos, dict) else eos
    return with_special_tokens(tokenizer_json, json.dumps(config)), content


def _text(name: str) -> str:
    """The name of a file as valid Unicode, which a manifest has to be."""
    return name.encode("utf-8", "replace").decode()


def _hash(checkpoint: Checkpoint, progress: Progress) -> str:
    return "+".join(sha256(path, progress) for path in checkpoint.files)
