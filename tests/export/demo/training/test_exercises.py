from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.export.demo.training.exercises import ExerciseMaker, view
from xsam_edge.export.demo.training.forward import normalise
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.image.preprocess import mask_pixels, vision_pixels
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.tokenizer import IMAGE_ID, REGION_ID, Tokenizer

SIZE, GRID = 96, 48


@pytest.mark.parametrize("seed", [0, 3])  # drawn at the input's size, and at twice that
def test_a_view_is_what_the_runtime_shows_the_model(seed: int, settings: Settings) -> None:
    import torch

    drawn = SIZE if seed == 0 else 2 * SIZE
    image = Image.fromarray(draw(compose(seed), drawn).pixels)
    pixels = torch.from_numpy(view(seed, SIZE, GRID).pixels.copy())[None]
    assert np.allclose(normalise(pixels, settings.mask_input), mask_pixels(image, settings.mask_input)[0], atol=1e-5)
    assert np.allclose(normalise(pixels, settings.vision_input), vision_pixels(image, settings.vision_input), atol=1e-5)


def test_cover_is_the_share_of_each_cell() -> None:
    seen = view(5, SIZE, GRID)
    segments = len(seen.composition.things) + len(seen.composition.grounds)
    assert seen.cover.shape == (segments, GRID, GRID)
    assert np.abs(seen.cover.astype(int).sum(0) - 255).max() <= segments  # every pixel shows one thing
    areas = (seen.index == np.arange(segments)[:, None, None]).mean((1, 2))
    assert np.allclose(seen.cover.mean((1, 2)) / 255, areas, atol=0.01)


def test_rows_are_the_runtime_s_prompts(maker: ExerciseMaker, settings: Settings, tokenizer_json: str) -> None:
    """Prefix and row together are the ids of the runtime's prompt and answer, and the answer starts where it should."""
    tokenizer, composition = Tokenizer(tokenizer_json), compose(9)
    expression = phrases.expressions(composition)[0]
    exercise = maker.refer(expression, "category")
    prompt = prompts.refer(expression.text, settings.prompt)
    question, answer = tokenizer.encode_prompt(prompt.text), tokenizer.encode(prompt.answer or "")
    whole = np.concatenate([maker.prefix(), exercise.row.input_ids])
    image = np.flatnonzero(question == IMAGE_ID)[0]
    expected = np.concatenate(
        [question[:image], np.full(settings.model.image_tokens, IMAGE_ID), question[image + 1 :], answer]
    )
    assert (whole == expected).all()
    assert (exercise.row.input_ids[exercise.answer_start :] == answer).all()
    assert exercise.row.input_ids[exercise.row.seg_ids >= 0].tolist() == [settings.tokens.seg]


def test_targets_are_what_is_asked_for(maker: ExerciseMaker) -> None:
    kinds = set()
    for seed in range(60):
        seen, rng = view(seed, SIZE, GRID), np.random.default_rng(seed)
        composition = seen.composition
        segments = [thing.shape for thing in composition.things] + list(composition.grounds)
        for exercise in maker.exercises(seen, rng, lesson=seed % 2):
            kinds.add(exercise.kind)
            assert len(exercise.targets) == len(exercise.labels)
            conditions = int(exercise.row.cond_ids.max()) + 1
            assert all(0 <= label < conditions for label in exercise.labels)
            assert all(0 <= index < len(segments) for target in exercise.targets for index in target)
            if exercise.kind == "absent":
                assert not exercise.targets
            if exercise.kind == "similar":
                for label in set(exercise.labels):
                    targets = zip(exercise.targets, exercise.labels, strict=True)
                    shapes = {segments[target[0]] for target, own in targets if own == label}
                    assert len(shapes) == 1
            if exercise.points is not None:
                regions = int((exercise.row.input_ids == REGION_ID).sum()) // maker.settings.regions.tokens
                assert len(exercise.points) == regions == conditions
    assert kinds == {*maker.recipe.kinds, *maker.recipe.others}


def test_categories_name_their_segments(maker: ExerciseMaker, tokenizer_json: str) -> None:
    tokenizer = Tokenizer(tokenizer_json)
    for seed in range(20):
        composition = compose(seed)
        exercise = maker.categories(composition, np.random.default_rng(seed))
        segments = [thing.shape for thing in composition.things] + list(composition.grounds)
        for target, label in zip(exercise.targets, exercise.labels, strict=True):
            words = tokenizer.decode(exercise.row.input_ids[exercise.row.cond_ids == label])
            assert words == f"<p>{segments[target[0]]}</p>"


def test_every_word_is_one_token(tokenizer_json: str) -> None:
    tokenizer = Tokenizer(tokenizer_json)
    for seed in range(500, 520):  # not those that the tokenizer was trained on
        for expression in phrases.expressions(compose(seed)):
            assert len(tokenizer.encode(expression.text)) == len(expression.text.split())
    odd = "a zebra – café"
    assert tokenizer.decode(tokenizer.encode(odd)) == odd
