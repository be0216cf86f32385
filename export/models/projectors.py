"""Projectors between the parts' widths, and the pixel shuffle of X-SAM.

``visual_projector`` (SigLIP to LLM), ``seg_projector`` (SAM to LLM, after a pixel shuffle by one half) and
``llm_projector`` (LLM to mask decoder) are all Linear, GELU, Linear (``ProjectorModel``, ``DynamicProjectorModel``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pad_to_even(x: Tensor) -> Tensor:
    """Zero-pads an odd height or width of [B, H, W, C] by one row below or one column to the right."""
    height, width = x.shape[1], x.shape[2]
    if height % 2 == 0 and width % 2 == 0:
        return x
    return F.pad(x, (0, 0, 0, width % 2, 0, height % 2))


def shuffle_down(x: Tensor) -> Tensor:
    """[B, H, W, C] to [B, H/2, W/2, 4C]: ``out[h, w, i*2C + j*C + c] = in[2h+i, 2w+j, c]``; H and W are even."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


def shuffle_up(x: Tensor) -> Tensor:
    """[B, H, W, C] to [B, 2H, 2W, C/4]: ``out[2h+i, 2w+j, c] = in[h, w, j*C/2 + i*C/4 + c]``.

    The column index is the outer one, unlike in ``torch.nn.PixelShuffle`` and unlike in ``shuffle_down``.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4).permute(0, 1, 4, 2, 3, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)


def pixel_shuffle(x: Tensor, scale: float) -> Tensor:
    """Trades resolution for channels, [B, H, W, C] to [B, H*scale, W*scale, C/scale**2] (official ``pixel_shuffle``).

    Args:
        x: the map; height and width are even where ``scale`` is below 1.
        scale: a power of two; 1 returns ``x``.

    Raises:
        ValueError: for a scale that is not a power of two.
    """
    if scale == 1:
        return x
    if scale == 2:
        return shuffle_up(x)
    if scale == 0.5:
        return shuffle_down(x)
    raise ValueError(f"pixel shuffle by {scale} is not supported; expected 0.5, 1 or 2")


class Projector(nn.Module):
    """Linear, GELU (exact), Linear over the last dimension: [..., in_features] to [..., out_features]."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(in_features, out_features), nn.GELU(), nn.Linear(out_features, out_features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        projected: Tensor = self.model(x)
        return projected


class ShuffleProjector(Projector):
    """A ``Projector`` of a map whose 2x2 blocks become one token each (``DynamicProjectorModel``)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(4 * in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, in_features] to [B, ceil(H/2) * ceil(W/2), out_features], tokens in row-major order."""
        blocks = shuffle_down(pad_to_even(x))
        return super().forward(torch.flatten(blocks, 1, 2))
