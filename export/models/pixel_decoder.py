"""Mask2Former's pixel decoder (arXiv 2112.01527): a deformable transformer over a pyramid, then one FPN step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import NORM_GROUPS, MaskDecoderConfig
from xsam_edge.export.models.deformable_attention import DeformableAttention, Form, Sizes, reference_points
from xsam_edge.export.models.position_encoding import sine_position_encoding
from xsam_edge.runtime.bundle.contract import Dialect


class PixelDecoderLayer(nn.Module):
    """Post-norm transformer layer with deformable attention."""

    def __init__(self, config: MaskDecoderConfig, form: Form, dialect: Dialect) -> None:
        super().__init__()
        channels = config.feature_size
        self.self_attn = DeformableAttention(
            channels, config.num_heads, config.num_levels, config.num_points, form, dialect
        )
        self.self_attn_layer_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, config.encoder_feedforward_dim)
        self.fc2 = nn.Linear(config.encoder_feedforward_dim, channels)
        self.final_layer_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, sizes: Sizes) -> Tensor:
        """[B, tokens, C] to the same shape; ``position`` is [tokens, C], ``reference`` [tokens, levels, 2]."""
        x = self.self_attn_layer_norm(x + self.self_attn(x + position, x, reference, sizes))
        x = self.final_layer_norm(x + self.fc2(torch.relu(self.fc1(x))))
        return x


class PixelDecoderEncoder(nn.Module):
    """The transformer layers."""

    def __init__(self, config: MaskDecoderConfig, form: Form, dialect: Dialect) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PixelDecoderLayer(config, form, dialect) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor, position: Tensor, sizes: Sizes) -> Tensor:
        """[B, tokens, C] to the same shape."""
        reference = reference_points(sizes, x)
        for layer in self.layers:
            x = layer(x, position, reference, sizes)
        return x


class PixelDecoder(nn.Module):
    """The connector's pyramid to multi-scale features and mask features."""

    def __init__(self, config: MaskDecoderConfig, form: Form = "gather", dialect: Dialect = "cpu") -> None:
        super().__init__()
        channels, self.num_levels = config.feature_size, config.num_levels
        coarse_first = config.feature_channels[::-1][: config.num_levels]
        self.level_embed = nn.Parameter(torch.zeros(config.num_levels, channels))
        self.input_projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, kernel_size=1), nn.GroupNorm(NORM_GROUPS, channels))
            for width in coarse_first
        )
        self.encoder = PixelDecoderEncoder(config, form, dialect)
        self.mask_projection = nn.Conv2d(channels, config.mask_feature_size, kernel_size=1)
        self.adapter_1 = nn.Sequential(
            nn.Conv2d(config.feature_channels[0], channels, kernel_size=1, bias=False),
            nn.GroupNorm(NORM_GROUPS, channels),
        )
        self.layer_1 = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(NORM_GROUPS, channels),
            nn.ReLU(),
        )

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The pyramid, high resolution first, to mask features and the levels, low resolution first.

        Args:
            features: maps [B, feature_channels[i], h_i, w_i].

        Returns:
            mask features [B, mask_feature_size, h_0, w_0] and ``num_levels`` maps [B, feature_size, h, w].
        """
        levels = [
            project(x) for project, x in zip(self.input_projections, features[::-1][: self.num_levels], strict=True)
        ]
        sizes = [(x.shape[2], x.shape[3]) for x in levels]
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in levels], dim=1)
        position = torch.cat(
            [sine_position_encoding(*size, tokens) + self.level_embed[i] for i, size in enumerate(sizes)]
        )
        tokens = self.encoder(tokens, position, sizes)

        split = tokens.split([height * width for height, width in sizes], dim=1)
        multi_scale = [x.transpose(1, 2).unflatten(2, size) for x, size in zip(split, sizes, strict=True)]
        lateral, finest = self.adapter_1(features[0]), multi_scale[-1]
        if finest.shape[2:] != lateral.shape[2:]:
            finest = F.interpolate(finest, size=lateral.shape[2:], mode="bilinear", align_corners=False)
        return self.mask_projection(self.layer_1(lateral + finest)), multi_scale
