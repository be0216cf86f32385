"""Heads that only exist in training: where an image token lies, and where the thing lies that an answer is about.

Nothing but phrases of position asks for columns, while the grounds, of which one lies above the other, teach rows from
the first step on. Reading both coordinates off the tokens that the language model sees, and off what it answers,
teaches columns as early.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SPREAD = 12**0.5  # of coordinates that are uniform in 0..1, so that they have a variance of 1


class PositionHeads(nn.Module):
    """Linear readings of x and y: of each image token [width] its own cell, of <SEG> [embed] its target's centre."""

    def __init__(self, width: int, embed: int) -> None:
        super().__init__()
        self.image, self.seg = _reading(width), _reading(embed)

    def loss(self, image: Tensor, grids: tuple[tuple[int, int], ...], seg: Tensor, targets: Tensor) -> Tensor:
        """Mean squared errors, 1 for a head that always says the middle.

        Args:
            image: the image's tokens [B, T, width], those of each grid in turn, in rows.
            grids: rows and columns.
            seg: [N, embed].
            targets: [N, K, h, w], 0..1; exercises with one thing to find have one that is not empty.
        """
        cells = torch.cat([_cells(*grid, image) for grid in grids])
        read = (self.image(image) - cells).square().mean()
        shares = targets.sum((2, 3))
        lone = (shares > 0).sum(1) == 1
        whole = targets[lone].sum(1)
        area = whole.sum((1, 2))
        height, width = whole.shape[-2:]
        places = _cells(height, width, image).view(height, width, 2)
        centres = torch.einsum("nhw,hwc->nc", whole, places) / area[:, None]
        found = (self.seg(seg[lone]) - centres).square().mean() if len(area) else read.new_zeros(())
        loss: Tensor = read + found
        return loss


def _reading(width: int) -> nn.Module:
    """It begins with the middle, whatever it reads: noise of a random head would drown every other gradient."""
    linear = nn.Linear(width, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), linear)


def _cells(height: int, width: int, like: Tensor) -> Tensor:
    """Centres of a grid's cells [height * width, 2] as x and y, of mean 0 and variance 1 over a fine grid."""
    y = (torch.arange(height, device=like.device) + 0.5) / height - 0.5
    x = (torch.arange(width, device=like.device) + 0.5) / width - 0.5
    return _SPREAD * torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1).flatten(0, 1)
