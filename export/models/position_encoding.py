"""Sine position encoding of a feature map (DETR, arXiv 2005.12872; ``Mask2FormerSinePositionEmbedding``)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
EPSILON = 1e-6


def _axis_encoding(size: int, channels: int, device: torch.device) -> Tensor:
    """Encoding of the positions 1..size of one axis, float32 [size, channels]: sin and cos interleaved."""
    position = torch.arange(1, size + 1, dtype=torch.float32, device=device) * (2 * math.pi / (size + EPSILON))
    pair = torch.arange(0, channels, 2, dtype=torch.float32, device=device)
    angle = position[:, None] / TEMPERATURE ** (pair / channels)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def sine_position_encoding(height: int, width: int, like: Tensor) -> Tensor:
    """Encoding of every cell of a map in row-major order, [height * width, channels].

    The first half of the channels encodes y, the second x. Computed in float32 from the sizes alone, so that it needs
    no weights and a graph optimiser can fold it.

    Args:
        height: rows of the map.
        width: columns of the map.
        like: a tensor whose last dimension, dtype and device the result takes; the dimension is a multiple of 4.
    """
    half = like.shape[-1] // 2
    y = _axis_encoding(height, half, like.device)[:, None, :].expand(height, width, half)
    x = _axis_encoding(width, half, like.device)[None, :, :].expand(height, width, half)
    return torch.cat((y, x), dim=-1).reshape(height * width, 2 * half).to(like.dtype)
