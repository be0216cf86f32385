"""A scene in which nothing is found, and an answer that names nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recorded import DATA
from tests.runtime.loaded import load
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

IMAGE = DATA / "golden-phi3" / "image.png"
QUESTIONS = {
    "instances": lambda scene: scene.categories(["car", "person"], threshold=1.0),
    "panoptic": lambda scene: scene.categories(["car"], ["road"], threshold=1.0),
    "similar": lambda scene: scene.regions(boxes=[(10, 10, 60, 70)], similar=True, threshold=1.0),
    "unanswered": lambda scene: scene.describe(max_new_tokens=1),
    "chat": lambda scene: scene.chat("Hi?", max_new_tokens=1),
}


@pytest.fixture
def scene(phi3_bundle: Path) -> Scene:
    return load(phi3_bundle).look(IMAGE)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_result_without_segments(scene: Scene, name: str) -> None:
    result: Result = QUESTIONS[name](scene)
    assert len(result) == 0 and result.labels == []
    assert (result.masks.shape, result.masks.dtype) == ((0, 100, 150), bool)
    assert (result.boxes.shape, result.scores.shape) == ((0, 4), (0,))
    assert result.to_coco() == [] and json.loads(json.dumps(result.to_json()))["segments"] == []
    np.testing.assert_array_equal(np.asarray(result.overlay()), np.asarray(Image.open(IMAGE).convert("RGB")))
    assert (result.id_map is not None) == (name == "panoptic")
    if result.id_map is not None:
        assert not result.id_map.any()


@pytest.mark.parametrize("name", ["unanswered", "chat"])
def test_only_a_question_for_masks_goes_unanswered(scene: Scene, name: str) -> None:
    result = QUESTIONS[name](scene)
    assert result.answered == (name == "chat")
    assert bool(result.reason) == (name == "unanswered")
