"""A loaded bundle that answers tensors as the runtime answers its own interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.loaded import load
from tests.runtime.triton.client import numbers, texts
from xsam_edge.runtime.errors import BackendError, BundleError, ContextLengthError, InputError
from xsam_edge.runtime.triton import Service

IMAGE = DATA / "golden-phi3" / "image.png"
REFER = {"TASK": texts("refer"), "IMAGE": texts(IMAGE.read_bytes()), "ANSWER": texts("append")}


def test_answers_are_those_of_the_runtime(phi3_bundle: Path) -> None:
    model = load(phi3_bundle)
    service = Service(model, 2)
    requests = [
        {**REFER, "PROMPTS": texts("a car")},
        {**REFER, "PROMPTS": texts("a <p>")},
        {**REFER, "PROMPTS": texts("a road", "a tree")},
        {**REFER, "TASK": texts("instances"), "THINGS": texts("car"), "THRESHOLD": numbers(0)},
        {**REFER, "TASK": texts("instances"), "THINGS": texts(*(f"thing {index}" for index in range(10_000)))},
        {**REFER, "TASK": texts("regions"), "POINTS": numbers((9999, 0))},
        {**REFER, "TASK": texts("fly")},
        {"TASK": texts("describe"), "IMAGE": REFER["IMAGE"], "MAX_NEW_TOKENS": np.array([[2]], np.int32)},
    ]
    answers = service.answer(requests, [("MASKS",)] * 7 + [("TEXT", "RLE")])
    with model.look(IMAGE) as scene:
        own = scene.refer(["a car", "a road", "a tree"], answer="append")
        expected = {0: own[:1], 2: own[1:], 3: [scene.categories(["car"], threshold=0, answer="append")]}
        described = scene.describe(max_new_tokens=2)
    for index, results in expected.items():
        answer = answers[index]
        assert isinstance(answer, dict), answer
        assert np.array_equal(answer["MASKS"][0], np.concatenate([result.masks for result in results]))
    assert "controls the model" in str(answers[1])
    assert isinstance(answers[4], ContextLengthError)
    assert isinstance(answers[5], InputError) and "lies outside the image" in str(answers[5])
    assert "TASK is 'fly'" in str(answers[6])
    last = answers[7]
    assert isinstance(last, dict) and set(last) == {"TEXT", "RLE"}
    assert last["TEXT"][0, 0].decode() == described.text
    assert len(service.scenes) == 1
    service.scenes.close()


def test_a_bundle_of_parameters(phi3_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").symlink_to(phi3_bundle)
    service = Service.load({"bundle": "bundle", "threads": "1", "verify": "none", "context": "256"}, tmp_path)
    (answer,) = service.answer([{**REFER, "PROMPTS": texts("a car")}], [("SCORES",)])
    assert isinstance(answer, dict) and answer["SCORES"].shape == (1, 1)
    service.close()
    (answer,) = service.answer([{**REFER, "PROMPTS": texts("a car")}], [("SCORES",)])
    assert isinstance(answer, InputError)


def test_a_bundle_that_cannot_be_loaded(phi3_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Service.load({"bundle": "nowhere"}, tmp_path)
    with pytest.raises((InputError, BackendError), match="tpu"):
        Service.load({"bundle": str(phi3_bundle), "device": "tpu"}, tmp_path)
    with pytest.raises(InputError, match="threads"):
        Service.load({"bundle": str(phi3_bundle), "threads": "999999"}, tmp_path)
