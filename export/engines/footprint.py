"""What a model of given sizes will need, at each precision and in each variant, before it is exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from xsam_edge.export.config.activation_sizes import activation_sizes
from xsam_edge.export.config.sizes import LLMConfig, ModelConfig, level_sizes
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.device.memory_plan import Footprint

# Bytes of one weight of (encoder and decoder, language model). INT4 is that of the language model's layers alone, in
# blocks with a scale each; scales, and what stays in floating point, are the fractions.
_WEIGHT_BYTES = {"fp32": (4.0, 4.0), "fp16": (2.0, 2.0), "int8": (1.1, 1.02), "fp8": (1.1, 1.02), "int4": (2.0, 0.56)}


def config_footprint(config: ModelConfig, variant: str, precision: str, *, codes: bool = False) -> Footprint:
    """The facts of a model that is yet to be exported, from its sizes alone.

    With ``codes`` its cache has 8 bits a value.
    """
    llm, decoder = config.llm, config.mask_decoder
    itemsize = 4 if precision == "fp32" else 2
    cache_itemsize = 1 if codes else itemsize
    encoder_bytes, llm_bytes = _WEIGHT_BYTES[precision]
    grids = [prod(size) for size in level_sizes(config)]
    # As graphs for GPUs have them: float32 mask features, and each decoder layer's keys and values of its level.
    levels = 2 * decoder.hidden_dim * sum(grids[i % decoder.num_levels] for i in range(decoder.decoder_layers))
    mask_features = 4 * sum(grids) * decoder.mask_feature_size
    masks = 4 * decoder.num_queries * max(grids)
    image_tokens = config.vision_tokens + config.mask_tokens
    cache_token = 2 * llm.num_layers * llm.num_kv_heads * llm.head_dim * cache_itemsize
    step = itemsize * llm.hidden_size + 4 * (llm.vocab_size + decoder.hidden_dim) + cache_token
    return Footprint(
        variant=variant,
        precision=precision,
        weights={
            contract.IMAGE_ENCODER: int(encoder_bytes * _encoder_weights(config)),
            contract.LLM: int(
                llm_bytes * (llm_weights(llm) + decoder.hidden_dim * (llm.hidden_size + decoder.hidden_dim))
            ),
            contract.MASK_DECODER: int(encoder_bytes * _decoder_weights(config)),
        },
        embeddings=itemsize * llm.vocab_size * llm.hidden_size,
        cache_token=cache_token,
        cache_itemsize=cache_itemsize,
        buffers=masks + mask_features + itemsize * (levels + image_tokens * llm.hidden_size) + step,
        activations=activation_sizes(config, "gpu"),
        itemsize=itemsize,
        image_tokens=image_tokens,
        context_limit=llm.context_length,
        heads=llm.num_heads,
        head_dim=llm.head_dim,
        vocabulary=llm.vocab_size,
    )


def llm_weights(config: LLMConfig) -> int:
    """Weights of the language model's layers and head."""
    heads, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * kv + 3 * config.intermediate_size)
    return config.num_layers * layer + config.vocab_size * config.hidden_size


def _encoder_weights(config: ModelConfig) -> int:
    vision, mask, decoder = config.vision_encoder, config.mask_encoder, config.mask_decoder
    hidden = config.llm.hidden_size
    vision_layer = vision.hidden_size * (4 * vision.hidden_size + 2 * vision.intermediate_size)
    mask_layer = mask.hidden_size * (4 * mask.hidden_size + 2 * mask.mlp_dim)
    positions = mask.grid**2 * mask.hidden_size + config.vision_tokens * vision.hidden_size
    patches = 3 * (vision.hidden_size * vision.patch_size**2 + mask.hidden_size * mask.patch_size**2)
    # Both projectors: into the language model's width and once across it; SAM's rows come four at a time.
    projectors = hidden * (vision.hidden_size + 4 * mask.hidden_size) + 2 * hidden**2
    inner = config.connector.hidden_channels
    connector = sum(
        inner * (mask.hidden_size + 9 * inner + int(channels * max(1, scale * scale)))
        for channels, scale in zip(decoder.feature_channels, config.connector.scales, strict=True)
    )
    deformable = (
        decoder.encoder_layers
        * decoder.feature_size
        * (
            2 * decoder.feature_size
            + 3 * decoder.num_heads * decoder.num_levels * decoder.num_points
            + 2 * decoder.encoder_feedforward_dim
        )
    )
    inputs = decoder.feature_size * sum(decoder.feature_channels) + 10 * decoder.feature_size**2
    layers = (vision.num_layers - 1) * vision_layer + mask.num_layers * mask_layer
    return layers + positions + patches + projectors + connector + deformable + inputs


def _decoder_weights(config: ModelConfig) -> int:
    decoder = config.mask_decoder
    layer = decoder.hidden_dim * (8 * decoder.hidden_dim + 2 * decoder.feedforward_dim)
    return decoder.decoder_layers * layer + decoder.hidden_dim * (2 * decoder.num_queries + 4 * decoder.hidden_dim)


def at_precision(facts: Footprint, precision: str) -> Footprint:
    """The same model at another precision, its weights scaled."""
    old, new = _WEIGHT_BYTES[facts.precision], _WEIGHT_BYTES[precision]
    itemsize = 4 if precision == "fp32" else 2
    per_item = itemsize / facts.itemsize
    cache_itemsize = 1 if facts.cache_itemsize == 1 else itemsize
    weights = {
        graph: int(count * new[graph == contract.LLM] / old[graph == contract.LLM])
        for graph, count in facts.weights.items()
    }
    return replace(
        facts,
        precision=precision,
        weights=weights,
        embeddings=int(facts.embeddings * per_item),
        cache_token=facts.cache_token * cache_itemsize // facts.cache_itemsize,
        cache_itemsize=cache_itemsize,
        buffers=int(facts.buffers * per_item),
        itemsize=itemsize,
    )


def lower_precisions(facts: Footprint, eight_bits: str = "int8") -> list[Footprint]:
    """The same model at each precision whose weights are smaller, largest first; ``eight_bits`` is int8 or fp8."""
    if facts.precision not in _WEIGHT_BYTES:
        return []
    known = [name for name in _WEIGHT_BYTES if name not in ("int8", "fp8") or name == eight_bits]
    others = [at_precision(facts, precision) for precision in known if precision != facts.precision]
    weights = sum(facts.weights.values())
    smaller = [other for other in others if sum(other.weights.values()) < 0.95 * weights]
    return sorted(smaller, key=lambda other: -sum(other.weights.values()))


def smaller_variants(facts: Footprint, eight_bits: str = "int8") -> Iterator[Footprint]:
    """Variants with a language model of half the size or less behind the same encoders, the largest first.

    Each at this precision and at lower ones.
    """
    known = VARIANTS.get(facts.variant)
    if known is None:
        return
    smaller = [
        variant
        for variant in VARIANTS.values()
        if variant.config.vision_encoder == known.config.vision_encoder
        and 2 * llm_weights(variant.config.llm) <= llm_weights(known.config.llm)
    ]
    for variant in sorted(smaller, key=lambda variant: -llm_weights(variant.config.llm)):
        for precision in (facts.precision, *(other.precision for other in lower_precisions(facts, eight_bits))):
            if precision in _WEIGHT_BYTES:
                yield config_footprint(variant.config, variant.name, precision, codes=facts.cache_itemsize == 1)
