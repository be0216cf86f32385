"""What the runtime has to know of a model, from its sizes, its variant and the files of its parts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tokenizers import Tokenizer

from xsam_edge.export.config.input_settings import mask_input, vision_input
from xsam_edge.export.config.sizes import ModelConfig, level_sizes
from xsam_edge.export.config.variants import Variant
from xsam_edge.export.tokenizer import SPECIAL_TOKENS
from xsam_edge.runtime.bundle.settings import ModelFacts, Referring, RejectionRule, Settings, SpecialTokens
from xsam_edge.runtime.bundle.typed_json import from_json, load_json
from xsam_edge.runtime.errors import CheckpointError

REJECTION_FILE = "rejection.json"
_CHECK = "check the files of the model's inits and what --config sets"


def settings_for(
    config: ModelConfig, variant: Variant, tokenizer_json: str, eos: str | None, inits: Path | None
) -> Settings:
    """Give the settings of a bundle.

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
        rejection=_rejection(inits),
    )
    # As read from a manifest, before hours of export.
    return from_json(Settings, asdict(settings), "the model's settings", CheckpointError, advice=_CHECK)


def _rejection(inits: Path | None) -> dict[str, RejectionRule] | None:
    """The thresholds that come with a model, if any do; ``xsam-eval --write-threshold`` measures those of a bundle."""
    if inits is None or not (path := inits / REJECTION_FILE).is_file():
        return None
    content = load_json(path, CheckpointError, advice="expected a rule for each of refer and reason")
    return from_json(dict[Referring, RejectionRule], content, str(path), CheckpointError)


def _special_id(tokenizer: Tokenizer, token: str) -> int:
    index = tokenizer.token_to_id(token)
    assert index is not None, token  # ``with_special_tokens`` added it
    return index
