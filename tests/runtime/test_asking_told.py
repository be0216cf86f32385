"""What is told while an answer is decoded, and that it ends where nobody listens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.runtime.loaded import load
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.scene import Scene

QUESTION = "Is there a star?"


@pytest.fixture(scope="module")
def scene(shapes_bundle: Path) -> Scene:
    return load(shapes_bundle).look(draw(compose(83), 160).pixels)


def test_a_caption_grows_to_what_the_result_has(scene: Scene) -> None:
    told: list[str] = []
    result = scene.describe(told=told.append)
    assert told[-1] == result.caption and len(told) > 5
    assert all("<p>" not in text for text in told)
    assert np.array_equal(result.masks, scene.describe().masks)


def test_words_grow_to_what_the_result_has(scene: Scene) -> None:
    told: list[str] = []
    result = scene.chat(QUESTION, told=told.append)
    assert told[-1] == result.text == scene.chat(QUESTION).text


def test_an_error_of_its_own_ends_the_answer(scene: Scene) -> None:
    told: list[str] = []

    def leave(text: str) -> None:
        told.append(text)
        if len(told) == 3:
            raise KeyError(text)

    before = scene.describe().caption
    with pytest.raises(KeyError):
        scene.describe(told=leave)
    assert len(told) == 3
    assert scene.describe().caption == before


def test_only_a_function_is_told(scene: Scene) -> None:
    with pytest.raises(InputError, match="told is 5; expected a function"):
        scene.chat(QUESTION, told=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="told is 'print'; expected a function"):
        scene.describe(told="print")  # type: ignore[arg-type]
