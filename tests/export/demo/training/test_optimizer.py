from __future__ import annotations

from dataclasses import replace

import torch

from xsam_edge.export.config.variants import Variant
from xsam_edge.export.demo.training.initialise import initialise
from xsam_edge.export.demo.training.optimizer import linear_matrices, optimizers, schedule, set_rates, share
from xsam_edge.export.demo.training.recipe import Recipe
from xsam_edge.export.models.xsam import XSam


def test_every_parameter_has_one_optimizer(variant: Variant) -> None:
    model, recipe = XSam(variant.config), replace(Recipe(), workers=2)
    held = [
        [
            id(parameter)
            for optimizer in optimizers(model, recipe, rank)
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        for rank in range(2)
    ]
    matrices = {id(matrix) for matrix in linear_matrices(model)}
    assert all(len(ids) == len(set(ids)) for ids in held)
    assert set(held[0]) | set(held[1]) == {id(parameter) for parameter in model.parameters()}
    assert matrices and not set(held[0]) & set(held[1]) & matrices  # shares do not overlap


def test_shares_are_even(variant: Variant) -> None:
    matrices = linear_matrices(XSam(variant.config))
    sizes = [sum(matrix.numel() for matrix in share(matrices, rank, 2)) for rank in range(2)]
    assert max(sizes) < 1.15 * min(sizes)


def test_the_schedule_rises_stays_and_falls() -> None:
    recipe = Recipe(warmup_steps=10, cooldown=0.5)
    assert schedule(0, 0.0, recipe) == 0.1 and schedule(9, 0.0, recipe) == 1.0
    assert schedule(100, 0.4, recipe) == 1.0 and schedule(100, 0.75, recipe) == 0.5
    assert schedule(100, 1.0, recipe) == 0.0 and schedule(100, 1.2, recipe) == 0.0


def test_rates_scale_from_their_peaks(variant: Variant) -> None:
    chosen = optimizers(XSam(variant.config), replace(Recipe(), workers=1))
    for factor in (0.5, 0.1, 1.0):
        set_rates(chosen, factor)
        rates = [group["lr"] for optimizer in chosen for group in optimizer.param_groups]
        assert rates == [factor * Recipe().matrix_rate, factor * Recipe().other_rate, factor * Recipe().other_rate]


def test_a_seed_gives_one_start(variant: Variant) -> None:
    states = [initialise(XSam(variant.config), seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
