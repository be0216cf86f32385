"""Muon for the matrices of linear layers, AdamW for everything else, and the rates over time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from xsam_edge.export.demo.training.recipe import Recipe
from xsam_edge.export.models.deformable_attention import DeformableAttention
from xsam_edge.export.models.xsam import XSam


def optimizers(model: XSam, recipe: Recipe, rank: int = 0) -> list[Optimizer]:
    """The two optimisers. Muon orthogonalises updates (Jordan et al., 2024), here scaled to the size of AdamW's.

    Muon's work per step does not depend on the batch, so each worker does its ``share`` of the matrices only.
    """
    matrices = linear_matrices(model)
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    decayed = [parameter for parameter in others if parameter.ndim > 1]
    free = [parameter for parameter in others if parameter.ndim < 2]
    return [
        Muon(
            share(matrices, rank, recipe.workers),
            lr=recipe.matrix_rate,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": free, "weight_decay": 0.0},
            ],
            lr=recipe.other_rate,
            betas=(0.9, 0.98),
            fused=True,
        ),
    ]


def schedule(step: int, spent: float, recipe: Recipe) -> float:
    """Factor on the rates: linear warm-up over steps, a plateau, then a linear fall to zero.

    ``spent`` is the share of the budget, 0 to 1.
    """
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    return warmup * min(1.0, max(0.0, (1 - spent) / recipe.cooldown))


def set_rates(chosen: Sequence[Optimizer], factor: float) -> None:
    """Scale every group's rate from its peak."""
    for optimizer in chosen:
        for group in optimizer.param_groups:
            group.setdefault("peak", group["lr"])
            group["lr"] = group["peak"] * factor


def share(matrices: Sequence[Tensor], rank: int, workers: int) -> list[Tensor]:
    """The matrices that one worker updates: every ``workers``-th by size, so that shares cost about the same."""
    return sorted(matrices, key=lambda matrix: matrix.numel())[rank::workers]


def linear_matrices(model: XSam) -> list[Tensor]:
    """Weights of linear layers between hidden states; offsets and weights of sampling are not of that kind."""
    sampling = {
        id(module)
        for attention in model.modules()
        if isinstance(attention, DeformableAttention)
        for module in (attention.sampling_offsets, attention.attention_weights)
    }
    head = getattr(model.llm, "lm_head", None)
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in sampling and module is not head
    ]
