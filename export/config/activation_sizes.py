"""Values that a model keeps while it runs, from its sizes."""

from __future__ import annotations

from math import prod

from xsam_edge.export.config.sizes import ModelConfig, level_sizes
from xsam_edge.runtime.bundle.activation_sizes import ActivationSizes
from xsam_edge.runtime.bundle.contract import Dialect

_PROMPTS = 8  # of the mask decoder at once


def activation_sizes(config: ModelConfig, dialect: Dialect) -> ActivationSizes:
    """Of graphs for a CPU, where no attention is fused, an upper estimate; of others a fitted model."""
    return _unfused(config) if dialect == "cpu" else _fused(config)


def _fused(config: ModelConfig) -> ActivationSizes:
    """Fitted to what TensorRT-RTX says of engines in FP16, within 15% of it at sizes that it was not fitted to.

    Of the language model an attention has keys and values joined and repeated for all heads, which for shared ones
    costs a square of their width besides; a feed-forward module some five times its inner width. Rows of an odd number
    of logits are padded. Of the image encoder the feed-forward modules of the pixel decoder, in FP32, need most. The
    mask decoder, of a batch of prompts, is an estimate: masks, and scores of the middle level.
    """
    llm, decoder = config.llm, config.mask_decoder
    heads, shared = llm.num_heads * llm.head_dim, llm.num_kv_heads * llm.head_dim
    grids = _grids(config)
    return ActivationSizes(
        image_encoder=2 * sum(grids) * (decoder.encoder_feedforward_dim + 31 * decoder.feature_size // 4),
        mask_decoder=_PROMPTS * decoder.num_queries * (max(grids) + decoder.num_heads * sorted(grids)[-2]),
        llm_token=2 * heads + 9 * llm.hidden_size // 2,
        llm_context=2 * heads,
        llm_score=1,  # the bias
        llm_wide=26 * llm.intermediate_size // 5,
        llm_logits=(15 if llm.vocab_size % 2 else 9) * llm.vocab_size // 5,
        llm_fixed=24 * shared**2 // 5 if shared < heads else 0,
        llm_heads=llm.num_heads,
    )


def _unfused(config: ModelConfig) -> ActivationSizes:
    """Attention scores and their softmax, and the widest layer, are alive at once.

    Windowed attention of the mask encoder is smaller than its global attention, the vision encoder than both.
    """
    mask, vision, decoder, llm = config.mask_encoder, config.vision_encoder, config.mask_decoder, config.llm
    patches = mask.grid**2
    grids = _grids(config)
    attention = 2 * mask.num_heads * patches**2 + 5 * mask.hidden_size * patches
    wide = patches * (2 * mask.mlp_dim + 2 * mask.hidden_size)
    vision_wide = 2 * vision.num_heads * config.vision_tokens**2 + config.vision_tokens * 2 * vision.intermediate_size
    # The mask encoder's taps wait for the connector while its last layers run.
    taps = len(mask.taps) * patches * mask.hidden_size
    pixels = sum(grids) * decoder.feature_size * (4 + decoder.encoder_feedforward_dim // decoder.feature_size)
    heads = llm.num_heads * llm.head_dim
    return ActivationSizes(
        image_encoder=max(attention + taps, wide + taps, vision_wide, pixels),
        # Mask logits, resized to a level, and the attention scores of that level.
        mask_decoder=decoder.num_queries * (2 * max(grids) + 2 * decoder.num_heads * sorted(grids)[-2]),
        llm_token=4 * llm.hidden_size + max(3 * llm.intermediate_size, 3 * heads),
        # One layer's keys and values behind each other, and repeated for the heads that share them.
        llm_context=2 * (llm.num_kv_heads * llm.head_dim + heads),
        llm_score=2 * llm.num_heads,
    )


def _grids(config: ModelConfig) -> list[int]:
    """Places of each level of the pixel decoder."""
    return [prod(size) for size in level_sizes(config)]
