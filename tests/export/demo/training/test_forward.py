"""Many exercises in one pass give what the official chain gives one by one; and a few steps make the loss fall."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xsam_edge.export import reference
from xsam_edge.export.config.variants import Variant
from xsam_edge.export.demo.training.exercises import ExerciseMaker, view
from xsam_edge.export.demo.training.forward import forward, normalise
from xsam_edge.export.demo.training.initialise import initialise
from xsam_edge.export.demo.training.loop import Job, train
from xsam_edge.export.demo.training.losses import hungarian, loss
from xsam_edge.export.demo.training.packing import pack
from xsam_edge.export.demo.training.recipe import Recipe
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.bundle.settings import Settings

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def model(variant: Variant) -> XSam:
    return initialise(XSam(variant.config, deformable="grid_sample"), 0)


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 everywhere: what differs then is no rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch_of(maker: ExerciseMaker, groups: int = 3):
    views = [view(seed, 96, 48) for seed in SEEDS]
    exercises = [maker.exercises(seen, np.random.default_rng(seed)) for seed, seen in zip(SEEDS, views, strict=True)]
    return views, exercises, pack(views, exercises, maker.prefix(), groups)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("groups", [1, 3])
def test_a_batch_equals_the_chain(variant: Variant, settings: Settings, maker: ExerciseMaker, groups: int) -> None:
    model = initialise(XSam(variant.config, deformable="grid_sample"), 0)
    views, exercises, batch = batch_of(maker, groups)
    packed = tuple(replace(group, pooling=group.pooling.double()) for group in batch.groups)
    batch = replace(batch, groups=packed, points=batch.points.double())
    with torch.no_grad():
        predictions = forward(model, batch, settings, all_layers=False)
    pairs = ((picture, exercise) for picture, of_picture in enumerate(exercises) for exercise in of_picture)
    ordered = sorted(pairs, key=lambda pair: len(pair[1].row))
    ordered = [item for item in ordered if item[1].has_masks]
    prefix = torch.from_numpy(maker.prefix())
    for number, (picture, exercise) in enumerate(ordered):
        pixels = torch.from_numpy(views[picture].pixels.copy())[None]
        image = reference.encode_image(
            model, normalise(pixels, settings.vision_input), normalise(pixels, settings.mask_input)
        )
        height, width = settings.model.region_grid
        rule = settings.regions
        regions = image.image_embeds[:, :0]
        if exercise.points is not None:
            features = image.image_embeds[0, -height * width :]
            regions = reference.sample_regions(
                features, torch.from_numpy(exercise.points).double(), rule.group, rule.pooling
            )
        # One placeholder per region again, as the chain expects.
        ids = torch.cat((prefix[prefix != reference.IMAGE_ID], torch.tensor([reference.IMAGE_ID])))
        row, conditions = torch.from_numpy(exercise.row.input_ids), torch.from_numpy(exercise.row.cond_ids)
        is_region = row == reference.REGION_ID
        keep = ~is_region | (is_region.cumsum(0) % rule.tokens == 1)
        ids = torch.cat((ids, row[keep]))[None]
        labels = torch.cat((torch.full((ids.shape[1] - int(keep.sum()),), -1), conditions[keep]))[None]
        tokens = reference.expand(model, ids, labels, image.image_embeds, regions)
        hidden = reference.prefill(model, tokens.inputs_embeds).hidden
        seg = len(prefix) + int(np.flatnonzero(exercise.row.seg_ids >= 0)[0])
        expected = reference.segment(model, image, hidden, tokens.condition_ids, [seg])
        count = expected.class_logits.shape[-1] - 1
        found = predictions.class_logits[-1][number]
        assert torch.allclose(found[:, :count], expected.class_logits[0, :, :-1], atol=1e-9)
        assert torch.allclose(found[:, -1], expected.class_logits[0, :, -1], atol=1e-9)
        assert torch.isinf(found[:, count:-1]).all()
        assert torch.allclose(predictions.mask_logits[-1][number], expected.mask_logits[0], atol=1e-9)


def test_matching_is_the_cheapest() -> None:
    """Targets that some queries predict exactly go to these queries."""
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(2, 3, 6, 6, generator=generator) > 0.6).float()
    labels = torch.tensor([[0, 1, 1], [2, -1, -1]])
    masks, classes = torch.randn(2, 5, 6, 6, generator=generator), torch.zeros(2, 5, 4)
    for exercise, target, query in ((0, 0, 4), (0, 1, 0), (0, 2, 2), (1, 0, 3)):
        masks[exercise, query] = 20 * targets[exercise, target] - 10
    exercise, query, target = hungarian(classes, masks, targets, labels, Recipe())
    pairs = list(zip(exercise.tolist(), target.tolist(), query.tolist(), strict=True))
    assert sorted(pairs) == [(0, 0, 4), (0, 1, 0), (0, 2, 2), (1, 0, 3)]


def test_the_class_decides_between_equal_masks() -> None:
    masks = torch.zeros(1, 3, 4, 4)
    classes = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]])
    targets, labels = torch.ones(1, 2, 4, 4), torch.tensor([[0, 1]])
    _, query, target = hungarian(classes, masks, targets, labels, Recipe())
    assert dict(zip(target.tolist(), query.tolist(), strict=True)) == {0: 2, 1: 1}


def test_a_perfect_answer_costs_little(settings: Settings, maker: ExerciseMaker, model: XSam) -> None:
    _, _, batch = batch_of(maker)
    with torch.no_grad():
        predictions = forward(model, batch, settings)
        before = loss(predictions, batch, Recipe())
        masks, classes = predictions.mask_logits[-1], predictions.class_logits[-1]
        coarse = torch.nn.functional.adaptive_avg_pool2d(batch.targets, masks.shape[-2:])
        masks[:], classes[:] = -15.0, classes.clamp(max=0)
        classes[..., -1] = 15.0
        for exercise, targets in enumerate(batch.labels.tolist()):
            for target, label in enumerate(targets):
                if label >= 0:
                    masks[exercise, target] = torch.logit(coarse[exercise, target].clamp(1e-4, 1 - 1e-4))
                    classes[exercise, target, -1], classes[exercise, target, label] = 0.0, 15.0
        perfect = replace(predictions, mask_logits=[masks], class_logits=[classes])
        after = loss(perfect, batch, Recipe())
    assert float(after.classes) < 0.01 < float(before.classes)
    assert float(after.dice) < 0.15 < float(before.dice)


@pytest.mark.slow
def test_a_few_steps_make_the_loss_fall(variant: Variant, tmp_path: Path) -> None:
    recipe = Recipe(steps=40, workers=1, batch=2, warmup_steps=5, validation_scenes=2, second_lesson=1.0)
    train(Job(variant, recipe, tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    totals = [line["total"] for line in lines if "total" in line]
    assert len(totals) == 2 and totals[1] < 0.9 * totals[0]
    assert (tmp_path / "model.safetensors").is_file() and (tmp_path / "inits" / "mask-decoder").is_dir()
