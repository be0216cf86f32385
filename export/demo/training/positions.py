"""Heads that only exist in training: where a token or a feature lies, and the thing that an answer is about.

Nothing but phrases of position asks for columns, while the grounds, of which one lies above the other, teach rows from
the first step on. Both coordinates are read off whatever a phrase of position depends on: the tokens that the language
model sees, <SEG>, by which it says which thing is meant, and the features that masks are made of, which tell the thing
on the left from its like on the right. Without the last, <SEG> knows the side and no mask follows it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.demo.training.forward import Predictions

_SPREAD = 12**0.5  # of coordinates that are uniform in 0..1, so that they have a variance of 1


class PositionHeads(nn.Module):
    """Linear readings of x and y."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        decoder = config.mask_decoder
        self.image = _reading(config.llm.hidden_size)
        self.mask_features = _reading(decoder.mask_feature_size)
        self.seg = _reading(decoder.hidden_dim)

    def loss(self, predictions: Predictions, grids: tuple[tuple[int, int], ...], targets: Tensor) -> Tensor:
        """Sum of the mean squared errors of three readings, each 1 for a head that always says the middle.

        Args:
            predictions: of a batch.
            grids: rows and columns of the image's tokens, those of each encoder in turn.
            targets: [N, K, h, w], 0..1; exercises with one thing to find have one that is not empty.
        """
        image, features = predictions.image, predictions.mask_features
        tokens = torch.cat([_cells(*grid, image) for grid in grids])
        cells = _cells(features.shape[2], features.shape[3], features)
        error: Tensor = (self.image(image) - tokens).square().mean()
        error = error + (self.mask_features(features.flatten(2).transpose(1, 2)) - cells).square().mean()
        lone = (targets.amax((2, 3)) > 0).sum(1) == 1
        if lone.any():
            error = error + (self.seg(predictions.seg[lone]) - _centres(targets[lone].sum(1))).square().mean()
        return error


def _reading(width: int) -> nn.Module:
    """It begins with the middle, whatever it reads: noise of a random head would drown every other gradient."""
    linear = nn.Linear(width, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), linear)


def _centres(masks: Tensor) -> Tensor:
    """Centres of masks [N, h, w] that are not empty, [N, 2]."""
    cells = _cells(masks.shape[1], masks.shape[2], masks)
    weights = masks.flatten(1)
    return (weights @ cells) / weights.sum(1, keepdim=True)


def _cells(height: int, width: int, like: Tensor) -> Tensor:
    """Centres of a grid's cells [height * width, 2] as x and y, of mean 0 and variance 1 over a fine grid."""
    y = (torch.arange(height, device=like.device) + 0.5) / height - 0.5
    x = (torch.arange(width, device=like.device) + 0.5) / width - 0.5
    return _SPREAD * torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1).flatten(0, 1)
