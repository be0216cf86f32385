"""The heads of training: what they are asked, and that they can answer where the answer is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xsam_edge.calibration.shapes import phrases
from xsam_edge.export.config.variants import Variant
from xsam_edge.export.demo.training.exercises import ExerciseMaker, view
from xsam_edge.export.demo.training.forward import Predictions, forward
from xsam_edge.export.demo.training.initialise import initialise
from xsam_edge.export.demo.training.packing import Batch, pack
from xsam_edge.export.demo.training.positions import PositionHeads
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.bundle.settings import Settings

GRIDS = (6, 6), (6, 6)


@pytest.fixture(scope="module")
def batch(maker: ExerciseMaker) -> Batch:
    views = [view(seed, 96, 48) for seed in (1, 2, 3)]
    exercises = [maker.exercises(seen, np.random.default_rng(seed)) for seed, seen in enumerate(views)]
    return pack(views, exercises, maker.prefix())


@pytest.fixture(scope="module")
def predictions(variant: Variant, settings: Settings, batch: Batch) -> Predictions:
    with torch.no_grad():
        return forward(initialise(XSam(variant.config, deformable="grid_sample"), 0), batch, settings)


def test_a_head_that_has_learnt_nothing_says_the_middle(
    variant: Variant, predictions: Predictions, batch: Batch
) -> None:
    error = PositionHeads(variant.config).loss(predictions, GRIDS, batch.targets).item()
    # Tokens and features cover the picture evenly; things and masks lie nearer to its middle.
    assert 2 * (1 - 1 / 36) < error < 5


def test_what_holds_its_place_is_read(variant: Variant, predictions: Predictions, batch: Batch) -> None:
    """Only x is in the tokens here, and only y in the features; the rest of both is noise, another at every step."""
    heads, generator = PositionHeads(variant.config), torch.Generator().manual_seed(0)
    width, (channels, rows, columns) = predictions.image.shape[-1], predictions.mask_features.shape[1:]
    along_x, along_y = torch.randn(width, generator=generator), torch.randn(channels, 1, 1, generator=generator)
    x, y = torch.linspace(-1, 1, 6).repeat(12)[:, None], torch.linspace(-1, 1, rows)[:, None]

    def holding() -> Predictions:
        tokens = x * along_x + 0.3 * torch.randn(len(x), width, generator=generator)
        features = y * along_y + 0.3 * torch.randn(channels, rows, columns, generator=generator)
        pictures = len(predictions.image)
        return replace(
            predictions, image=tokens.expand(pictures, -1, -1), mask_features=features.expand(pictures, -1, -1, -1)
        )

    optimizer = torch.optim.Adam(heads.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        heads.loss(holding(), GRIDS, batch.targets).backward()
        optimizer.step()
    made = holding()
    with torch.no_grad():
        read_x, read_y = heads.image(made.image[0]), heads.mask_features(made.mask_features[0].flatten(1).T)
    assert read_x[:, 0].std() > 0.8 and read_x[:, 1].std() < 0.3
    assert read_y[:, 1].std() > 0.8 and read_y[:, 0].std() < 0.3


def test_the_gradient_reaches_what_is_read(variant: Variant, settings: Settings, batch: Batch) -> None:
    model, heads = initialise(XSam(variant.config, deformable="grid_sample"), 0), PositionHeads(variant.config)
    for head in (heads.image, heads.mask_features, heads.meaning):
        torch.nn.init.normal_(head[1].weight)
    heads.loss(forward(model, batch, settings), GRIDS, batch.targets).backward()
    parts = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name in ("segmentor.encoder.pos_embed", "visual_projector.model.2.weight", "llm_projector.model.0.weight"):
        assert parts[name] is not None and parts[name].abs().sum() > 0


def test_positions_are_asked_with_their_opposites(maker: ExerciseMaker) -> None:
    assert phrases.opposite("the square left of the star") == "the square right of the star"
    assert phrases.opposite("the circle at the top left") == "the circle at the bottom right"
    assert phrases.opposite("the red circle") == "the red circle"
    asked = opposed = 0
    for seed in range(40):
        seen = view(seed, 96, 48)
        exercises = maker.referring(seen.composition, np.random.default_rng(seed))
        there = {item.text for item in phrases.expressions(seen.composition)}
        rows = {tuple(exercise.row.input_ids.tolist()) for exercise in exercises}
        assert len(rows) == len(exercises)
        for item in phrases.expressions(seen.composition):
            if item.kind in ("position", "relation") and phrases.opposite(item.text) in there:
                pair = [maker.refer(other, item.kind).row.input_ids for other in (item, _opposite(seen, item))]
                found = [tuple(ids.tolist()) in rows for ids in pair]
                asked += found[0]
                opposed += all(found)
    assert opposed == asked > 20


def _opposite(seen, item: phrases.ReferringExpression) -> phrases.ReferringExpression:
    text = phrases.opposite(item.text)
    return next(other for other in phrases.expressions(seen.composition) if other.text == text)
