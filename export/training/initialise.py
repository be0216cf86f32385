"""Starting weights for training: ``init_weights`` with what a model needs that is to learn, not only to run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xsam_edge.export.models.deformable_attention import DeformableAttention
from xsam_edge.export.models.init import init_weights
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.position_encoding import sine_position_encoding
from xsam_edge.export.models.xsam import XSam

_EMBEDDING_STD = 0.5  # of tokens: comparable to image embeddings, so that neither drowns the other


def initialise(model: XSam, seed: int) -> XSam:
    """Draw the weights of a model that is to be trained, and return it."""
    init_weights(model, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        _positions(model)
        for module in model.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, DeformableAttention):
                _sampling(module)
        decoder = model.segmentor.decoder
        for table in (decoder.queries_embedder, decoder.queries_features, model.bg_embeds):
            table.weight.normal_(generator=generator)
        _language(model.llm, generator)
    return model


def _positions(model: XSam) -> None:
    """Sine positions for both encoders: neighbours look alike from the start."""
    table = model.segmentor.encoder.pos_embed
    _, height, width, channels = table.shape
    table.copy_(_sine(height, width, channels, table).view_as(table))
    weight = model.vision_encoder.vision_model.embeddings.position_embedding.weight
    side = math.isqrt(weight.shape[0])
    weight.copy_(_sine(side, side, weight.shape[1], weight))


def _sine(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    return 0.5 * sine_position_encoding(height, width, like.new_zeros(1, 1, channels))


def _sampling(attention: DeformableAttention) -> None:
    """Each head looks in its own direction, each point one step further (Deformable DETR, arXiv 2010.04159)."""
    attention.sampling_offsets.weight.zero_()
    attention.attention_weights.weight.zero_()
    angle = torch.arange(attention.num_heads) * (2 * math.pi / attention.num_heads)
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, attention.num_points + 1)[:, None]
    offsets = direction[:, None, None] * steps  # [heads, 1, points, 2]
    shape = (attention.num_heads, attention.num_levels, attention.num_points, 2)
    attention.sampling_offsets.bias.copy_(offsets.expand(shape).reshape(-1))


def _language(llm: CausalLM, generator: torch.Generator) -> None:
    llm.model.embed_tokens.weight.normal_(std=_EMBEDDING_STD, generator=generator)
    if not llm.config.tie_word_embeddings:
        llm.lm_head.weight.mul_(0.1)
    shrink = (2 * llm.config.num_layers) ** -0.5
    for layer in llm.model.layers:
        layer.self_attn.o_proj.weight.mul_(shrink)
        layer.mlp.down_proj.weight.mul_(shrink)
