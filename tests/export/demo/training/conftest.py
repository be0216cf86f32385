from __future__ import annotations

from dataclasses import replace

import pytest

from xsam_edge.export.config.variants import Variant, get_variant
from xsam_edge.export.demo.training.exercises import ExerciseMaker
from xsam_edge.export.demo.training.loop import with_vocabulary
from xsam_edge.export.demo.training.recipe import Recipe
from xsam_edge.export.demo.training.tokenizer import train_tokenizer
from xsam_edge.export.settings import settings_for
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.language.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer_json() -> str:
    return train_tokenizer(get_variant("shapes").prompt)


@pytest.fixture(scope="session")
def variant(tokenizer_json: str) -> Variant:
    """The demo model with two layers of each kind."""
    shapes = with_vocabulary(get_variant("shapes"), tokenizer_json)
    config = replace(
        shapes.config,
        llm=replace(shapes.config.llm, num_layers=2),
        vision_encoder=replace(shapes.config.vision_encoder, num_layers=2),
        mask_encoder=replace(shapes.config.mask_encoder, num_layers=2, taps=(1, 1, 2), global_attention_layers=(1,)),
    )
    return replace(shapes, config=config)


@pytest.fixture(scope="session")
def settings(variant: Variant, tokenizer_json: str) -> Settings:
    return settings_for(variant.config, variant, tokenizer_json, None, None)


@pytest.fixture(scope="session")
def maker(settings: Settings, tokenizer_json: str) -> ExerciseMaker:
    return ExerciseMaker(Tokenizer(tokenizer_json), settings, Recipe())
