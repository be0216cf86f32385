"""Heads that only exist in training: where a token, a feature, a query lies, and the thing that a phrase means.

Nothing but phrases of position asks for columns, while the grounds, of which one lies above the other, teach rows from
the first step on. Both coordinates are read off whatever a phrase of position goes through: the tokens that the
language model sees; the features that masks are made of; the phrase itself and <SEG>; and the queries, of which the one
that is most like the phrase is taken. Where one of these does not know columns, the thing on the left and its like on
the right are both found, and either is taken for the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.demo.training.forward import Predictions

_SPREAD = 12**0.5  # of coordinates that are uniform in 0..1, so that they have a variance of 1


class PositionHeads(nn.Module):
    """Linear readings of x and y. Phrases, <SEG> and queries share one, since they are compared with one another."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image = _reading(config.llm.hidden_size)
        self.mask_features = _reading(config.mask_decoder.mask_feature_size)
        self.meaning = _reading(config.mask_decoder.hidden_dim)

    def loss(self, predictions: Predictions, grids: tuple[tuple[int, int], ...], targets: Tensor) -> Tensor:
        """Sum of the mean squared errors of all readings, each 1 for a head that always says the middle.

        Args:
            predictions: of a batch.
            grids: rows and columns of the image's tokens, those of each encoder in turn.
            targets: [N, K, h, w], 0..1; exercises with one thing to find have one that is not empty.
        """
        image, features = predictions.image, predictions.mask_features
        tokens = torch.cat([_cells(*grid, image) for grid in grids])
        cells = _cells(features.shape[2], features.shape[3], features)
        masks = predictions.mask_logits[-1].detach().sigmoid()
        error = _error(self.image(image), tokens)
        error = error + _error(self.mask_features(features.flatten(2).transpose(1, 2)), cells)
        error = error + _error(self.meaning(predictions.queries), _centres(masks))
        lone = (targets.amax((2, 3)) > 0).sum(1) == 1
        if lone.any():
            meant = torch.stack((predictions.seg[lone], predictions.conditions[lone, 0]), dim=1)
            error = error + 2 * _error(self.meaning(meant), _centres(targets[lone].sum(1, keepdim=True)))
        return error


def _reading(width: int) -> nn.Module:
    """It begins with the middle, whatever it reads: noise of a random head would drown every other gradient."""
    linear = nn.Linear(width, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), linear)


def _error(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean()


def _centres(masks: Tensor) -> Tensor:
    """Centres of masks [..., h, w] that are not empty, [..., 2]."""
    cells = _cells(masks.shape[-2], masks.shape[-1], masks)
    weights = masks.flatten(-2)
    return (weights @ cells) / weights.sum(-1, keepdim=True)


def _cells(height: int, width: int, like: Tensor) -> Tensor:
    """Centres of a grid's cells [height * width, 2] as x and y, of mean 0 and variance 1 over a fine grid."""
    y = (torch.arange(height, device=like.device) + 0.5) / height - 0.5
    x = (torch.arange(width, device=like.device) + 0.5) / width - 0.5
    return _SPREAD * torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1).flatten(0, 1)
