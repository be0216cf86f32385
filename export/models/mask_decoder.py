"""Mask2Former's transformer decoder with masked attention (arXiv 2112.01527), and X-SAM's class predictor.

Each layer lets a query attend only to the cells inside the mask that it predicted so far. The official code predicts
that mask at full resolution and resizes it to the layer's level; resizing and the product with mask features are both
linear, so here the mask features are resized once (``MaskDecoder.prepare``) and a layer computes masks at its own
level's size. Full-resolution masks are computed for the last layer only. Keys and values of the image are apart from
what is done with them (``MaskDecoder.keys_and_values``): they are the same for all prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import MaskDecoderConfig
from xsam_edge.export.models.masking import hide
from xsam_edge.export.models.position_encoding import sine_position_encoding

KeyValue = tuple[Tensor, Tensor]


def attention(query: Tensor, key: Tensor, value: Tensor, num_heads: int, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention of projected tensors, of a batch or of one image.

    Args:
        query: [B, Q, C] or [Q, C], already scaled by ``head_dim ** -0.5``.
        key: [B, N, C] or [N, C].
        value: as ``key``.
        num_heads: heads that C is split into.
        bias: added to the scores, broadcast to [B, num_heads, Q, N] or [num_heads, Q, N].

    Returns:
        As ``query``.
    """
    query, key, value = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (query, key, value))
    scores = query @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return (torch.softmax(scores, dim=-1) @ value).transpose(-3, -2).flatten(-2)


class SelfAttention(nn.Module):
    """Attention among queries; positions are added to queries and keys, not to values."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (channels // num_heads) ** -0.5
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """[B, Q, C] to the same shape; ``position`` is [Q, C]."""
        placed = x + position
        query = self.q_proj(placed) * self.scale
        x = self.out_proj(attention(query, self.k_proj(placed), self.v_proj(x), self.num_heads))
        return x


class ImageMemory(nn.Module):
    """What an image level is to a cross-attention: keys and values.

    A module so that its nodes carry its name in the graph of which it is a part; its parameters are the attention's.
    """

    def forward(self, level: Tensor, embedding: Tensor, weight: Tensor, bias: Tensor) -> KeyValue:
        """A level [B, C, h, w] with its embedding [C] to keys and values [B, h * w, C].

        Args:
            level: from the pixel decoder.
            embedding: what tells it from other levels.
            weight: of the projections to keys and values, [2 * C, C].
            bias: [2 * C].
        """
        memory = level.flatten(2).transpose(1, 2) + embedding
        placed = memory + sine_position_encoding(level.shape[2], level.shape[3], memory)
        (to_key, to_value), (key_bias, value_bias) = weight.chunk(2), bias.chunk(2)
        return F.linear(placed, to_key, key_bias), F.linear(memory, to_value, value_bias)


class CrossAttention(nn.Module):
    """Attention of queries to an image level, with the parameter names of ``nn.MultiheadAttention``."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.channels, self.num_heads, self.scale = channels, num_heads, (channels // num_heads) ** -0.5
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        self.memory = ImageMemory()

    def keys_and_values(self, level: Tensor, embedding: Tensor) -> KeyValue:
        """A level [B, C, h, w] with its embedding [C] to keys and values [B, h * w, C]."""
        pair: KeyValue = self.memory(
            level, embedding, self.in_proj_weight[self.channels :], self.in_proj_bias[self.channels :]
        )
        return pair

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """[B, Q, C] attends to [B, N, C], or to [1, N, C] of an image that all share; ``bias`` is [B, 1, Q, N]."""
        weight, offset = self.in_proj_weight[: self.channels], self.in_proj_bias[: self.channels]
        rows = F.linear(query, weight, offset) * self.scale
        if key.shape[0] == 1:  # one product with all queries as its rows, not one per prompt
            # Without a batch NVIDIA's compiler reads keys and values where they lie, and copies none.
            rows, key, value, bias = rows.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), bias.flatten(0, 2)
        attended: Tensor = self.out_proj(attention(rows, key, value, self.num_heads, bias).reshape(query.shape))
        return attended


class MaskDecoderLayer(nn.Module):
    """Post-norm layer: masked cross-attention, self-attention, feed-forward."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        channels = config.hidden_dim
        self.self_attn = SelfAttention(channels, config.num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(channels)
        self.cross_attn = CrossAttention(channels, config.num_heads)
        self.cross_attn_layer_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, config.feedforward_dim)
        self.fc2 = nn.Linear(config.feedforward_dim, channels)
        self.final_layer_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, query_position: Tensor, level: KeyValue, bias: Tensor) -> Tensor:
        """[B, Q, C] to the same shape.

        Args:
            x: queries.
            query_position: [Q, C].
            level: the image level's keys and values, [B, N, C].
            bias: [B, 1, Q, N], from ``masked_attention_bias``.
        """
        x = self.cross_attn_layer_norm(x + self.cross_attn(x + query_position, *level, bias))
        x = self.self_attn_layer_norm(x + self.self_attn(x, query_position))
        x = self.final_layer_norm(x + self.fc2(torch.relu(self.fc1(x))))
        return x


class MaskPredictor(nn.Module):
    """Queries to mask embeddings: a perceptron of three layers."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        channels = config.hidden_dim
        self.mask_embedder = nn.Sequential(
            nn.Sequential(nn.Linear(channels, channels), nn.ReLU()),
            nn.Sequential(nn.Linear(channels, channels), nn.ReLU()),
            nn.Sequential(nn.Linear(channels, config.mask_feature_size)),
        )

    def forward(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        """Queries [B, Q, C] and mask features [B, Cm, h, w], or [1, Cm, h, w] of all, to mask logits [B, Q, h * w]."""
        embeds, features = self.mask_embedder(queries), mask_features.flatten(2)
        logits: Tensor
        if features.shape[0] == 1:  # one product, as in attention
            logits = (embeds.flatten(0, 1) @ features[0]).unflatten(0, embeds.shape[:2])
        else:
            logits = embeds @ features
        return logits


class DecoderStack(nn.Module):
    """Layers, final norm and mask predictor; exists for the parameter names of the checkpoint."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MaskDecoderLayer(config) for _ in range(config.decoder_layers))
        self.layernorm = nn.LayerNorm(config.hidden_dim)
        self.mask_predictor = MaskPredictor(config)


def masked_attention_bias(mask_logits: Tensor) -> Tensor:
    """Mask logits [B, Q, N] to the scores' bias [B, 1, Q, N]: cells outside the mask are hidden.

    A query whose mask is empty attends everywhere (``Mask2FormerMaskedAttentionDecoder``).
    """
    outside = (mask_logits < 0) & (mask_logits.amax(-1, keepdim=True) >= 0)
    return hide(outside, mask_logits.dtype)[:, None]


class MaskDecoder(nn.Module):
    """Queries and image features to query embeddings and masks.

    Raises:
        ValueError: at construction, for a pixel decoder of another width (the official code then adds projections
            that it does not save).
    """

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        if config.feature_size != config.hidden_dim:
            raise ValueError(
                f"feature_size is {config.feature_size} and hidden_dim {config.hidden_dim}; they must be equal"
            )
        self.num_levels = config.num_levels
        self.queries_embedder = nn.Embedding(config.num_queries, config.hidden_dim)
        self.queries_features = nn.Embedding(config.num_queries, config.hidden_dim)
        self.decoder = DecoderStack(config)
        self.level_embed = nn.Embedding(config.num_levels, config.hidden_dim)

    @staticmethod
    def prepare(mask_features: Tensor, multi_scale: list[Tensor]) -> list[Tensor]:
        """Mask features at the size of every level, [B, Cm, h, w] each; ``mask_features`` itself where sizes agree."""
        return [
            mask_features
            if level.shape[2:] == mask_features.shape[2:]
            else F.interpolate(mask_features, size=level.shape[2:], mode="bilinear", align_corners=False)
            for level in multi_scale
        ]

    def keys_and_values(self, multi_scale: list[Tensor]) -> Iterator[KeyValue]:
        """Of each layer in turn, [B, N, hidden_dim] of the level that it attends to.

        Args:
            multi_scale: [B, feature_size, h_i, w_i], low resolution first.
        """
        for index, layer in enumerate(self.decoder.layers):
            assert isinstance(layer, MaskDecoderLayer)
            level = index % self.num_levels
            yield layer.cross_attn.keys_and_values(multi_scale[level], self.level_embed.weight[level])

    def forward(
        self,
        seg_embed: Tensor,
        mask_features: Tensor,
        levels: Iterable[KeyValue],
        level_mask_features: list[Tensor],
        all_layers: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Decodes.

        Args:
            seg_embed: embedding of <SEG>, [B, 1, hidden_dim].
            mask_features: [B, Cm, h, w].
            levels: from ``keys_and_values``, of as many images, or of one that all prompts share.
            level_mask_features: from ``prepare``.
            all_layers: return every layer's prediction, the one before the first layer included, not only the last.

        Returns:
            Query embeddings [B, Q, hidden_dim] and mask logits [B, Q, h, w]: one of each, or one per prediction.
        """
        query_position = self.queries_embedder.weight
        x = self.queries_features.weight + seg_embed

        predictions = [self.decoder.layernorm(x)]
        for index, (layer, level) in enumerate(zip(self.decoder.layers, levels, strict=True)):
            mask_logits = self.decoder.mask_predictor(predictions[-1], level_mask_features[index % self.num_levels])
            # Masks steer attention but are not trained through it, as in the official code.
            bias = masked_attention_bias(mask_logits.detach())
            x = layer(x, query_position, level, bias)
            predictions.append(self.decoder.layernorm(x))

        wanted = predictions if all_layers else predictions[-1:]
        size = mask_features.shape[2:]
        return wanted, [self.decoder.mask_predictor(q, mask_features).unflatten(-1, size) for q in wanted]


class ClassPredictor(nn.Module):
    """Class logits as scaled cosine similarity of queries and conditions (X-SAM, ``head_cls_type="learn"``)."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.clamp = config.logit_clamp
        self.logit_scale = nn.Parameter(torch.zeros(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the scale to its start, that of CLIP (arXiv 2103.00020)."""
        nn.init.constant_(self.logit_scale, math.log(1 / 0.07))

    def forward(self, queries: Tensor, conditions: Tensor) -> Tensor:
        """Queries [B, Q, C] and conditions [B, K, C] to logits [B, Q, K], clamped to +- ``logit_clamp``."""
        cosine = F.normalize(queries, dim=-1) @ F.normalize(conditions, dim=-1).transpose(1, 2)
        return (self.logit_scale.exp() * cosine).clamp(-self.clamp, self.clamp)
