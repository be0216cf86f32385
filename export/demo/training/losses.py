"""The loss: queries matched to targets, then class, mask and next-token terms (Mask2Former, arXiv 2112.01527)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from xsam_edge.export.demo.training.forward import Predictions
from xsam_edge.export.demo.training.packing import Batch
from xsam_edge.export.demo.training.recipe import Recipe

Match = tuple[Tensor, Tensor, Tensor]  # exercise, query and target of every pair, int64 [M] each


@dataclass(frozen=True, eq=False)
class Losses:
    """``total`` is what is minimised; the parts are means over exercises and prediction points."""

    total: Tensor
    classes: Tensor
    mask: Tensor
    dice: Tensor
    language: Tensor


def loss(predictions: Predictions, batch: Batch, recipe: Recipe) -> Losses:
    """Sum of the losses at every prediction point, averaged, and of the answers' next tokens."""
    height, width = predictions.mask_logits[0].shape[-2:]
    coarse = F.adaptive_avg_pool2d(batch.targets, (height, width))
    wanted = batch.labels >= 0
    # Every mask counts, those of an exercise with many a little less each, so that lists do not drown phrases.
    weight = (wanted.sum(1).clamp(min=1) ** -0.5)[:, None].expand_as(wanted)
    points = []
    for index, (classes, masks) in enumerate(zip(predictions.class_logits, predictions.mask_logits, strict=True)):
        match = hungarian(classes, masks, coarse, batch.labels, recipe)
        last = index == len(predictions.mask_logits) - 1
        points.append(_point(classes, masks, batch.targets if last else coarse, batch.labels, match, weight, recipe))
    classes, mask, dice = (torch.stack(part).mean() for part in zip(*points, strict=True))
    next_ids = torch.cat([group.next_ids[group.next_ids >= 0] for group in batch.groups])
    language = F.cross_entropy(predictions.next_logits, next_ids)
    total = (
        recipe.class_weight * classes
        + recipe.mask_weight * mask
        + recipe.dice_weight * dice
        + recipe.language_weight * language
    )
    return Losses(total, classes.detach(), mask.detach(), dice.detach(), language.detach())


@torch.no_grad()
def hungarian(class_logits: Tensor, mask_logits: Tensor, targets: Tensor, labels: Tensor, recipe: Recipe) -> Match:
    """Match each target to the query of least cost.

    Args:
        class_logits: [N, Q, C + 1].
        mask_logits: [N, Q, h, w].
        targets: [N, K, h, w], 0..1.
        labels: [N, K], -1 where there is no target.
        recipe: gives the weights of the costs.
    """
    x, t = mask_logits.flatten(2), targets.flatten(2).transpose(1, 2)
    cells = x.shape[-1]
    bce = (F.softplus(x).sum(-1, keepdim=True) - x @ t) / cells  # softplus(x) - x t
    probability = x.sigmoid()
    dice = 1 - (2 * probability @ t + 1) / (probability.sum(-1, keepdim=True) + t.sum(1, keepdim=True) + 1)
    index = labels.clamp(min=0)[:, None].expand(-1, x.shape[1], -1)
    likeness = class_logits.softmax(-1).gather(2, index)
    cost = recipe.mask_weight * bce + recipe.dice_weight * dice - recipe.class_weight * likeness
    exercises, queries, matched = [], [], []
    counts = (labels >= 0).sum(1).tolist()
    for exercise, (matrix, count) in enumerate(zip(cost.cpu().numpy(), counts, strict=True)):
        rows, columns = linear_sum_assignment(matrix[:, :count])
        exercises += [exercise] * len(rows)
        queries += rows.tolist()
        matched += columns.tolist()

    def indices(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=labels.device)

    return indices(exercises), indices(queries), indices(matched)


def _point(
    class_logits: Tensor,
    mask_logits: Tensor,
    targets: Tensor,
    labels: Tensor,
    match: Match,
    weight: Tensor,
    recipe: Recipe,
) -> tuple[Tensor, Tensor, Tensor]:
    """Class, mask and dice loss of one prediction point."""
    exercise, query, target = match
    background = class_logits.shape[-1] - 1
    wanted = torch.full(class_logits.shape[:2], background, device=labels.device)
    wanted[exercise, query] = labels[exercise, target]
    balance = torch.where(wanted == background, recipe.background_weight, 1.0)
    entropy = F.cross_entropy(class_logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(balance)
    classes = ((entropy * balance).sum(1) / balance.sum(1)).mean()

    share = weight[exercise, target]
    share = share / share.sum()
    logits, truth = mask_logits[exercise, query], targets[exercise, target]
    if truth.shape != logits.shape:
        logits = F.interpolate(logits[:, None], truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    logits, truth = logits.flatten(1), truth.flatten(1)
    mask = (share * F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)).sum()
    probability = logits.sigmoid()
    overlap = (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
    return classes, mask, (share * (1 - overlap)).sum()
