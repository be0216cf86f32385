"""Starting weights for training: ``init_weights`` with what a model needs that is to learn, not only to run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xsam_edge.export.models.deformable_attention import DeformableAttention
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.random_weights import init_weights
from xsam_edge.export.models.xsam import XSam

_EMBEDDING_STD = 0.5  # of tokens: comparable to image embeddings, so that neither drowns the other
_POSITION_STD = 0.7  # of the tables of both encoders
_WAVES = 4  # half periods of the shortest cosine across an image


def initialise(model: XSam, seed: int) -> XSam:
    """Draw the weights of a model that is to be trained, and return it."""
    init_weights(model, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        _positions(model, generator)
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


def _positions(model: XSam, generator: torch.Generator) -> None:
    """Positions that differ as much as contents do: nobody can tell left from right by tokens that do not hold theirs.

    The sines of DETR would not do: over the few cells of a small image they hardly change.
    """
    table = model.segmentor.encoder.pos_embed
    _, height, width, channels = table.shape
    table.copy_(_smooth(height, width, channels, generator).view_as(table))
    weight = model.vision_encoder.vision_model.embeddings.position_embedding.weight
    side = math.isqrt(weight.shape[0])
    weight.copy_(_smooth(side, side, weight.shape[1], generator))


def _smooth(height: int, width: int, channels: int, generator: torch.Generator) -> Tensor:
    """Smooth random functions of y and of x, ``[height * width, channels]``, of deviation ``_POSITION_STD``.

    A channel adds random amounts of the cosines of the DCT, of which the first runs from one side to the other.
    """
    y, x = (_cosines(cells) @ torch.randn(_WAVES, channels, generator=generator) for cells in (height, width))
    table = (y[:, None] + x[None]).flatten(0, 1)
    return table * (_POSITION_STD / table.std())


def _cosines(cells: int) -> Tensor:
    waves = torch.arange(1, _WAVES + 1)
    centres = (torch.arange(cells) + 0.5) / cells
    return torch.cos(math.pi * waves * centres[:, None]) / waves  # [cells, waves], short waves weaker


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
        layer.get_parameter("self_attn.o_proj.weight").mul_(shrink)
        layer.get_parameter("mlp.down_proj.weight").mul_(shrink)
