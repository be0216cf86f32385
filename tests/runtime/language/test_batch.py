from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.language.one import encode
from tests.runtime.language.test_generate import counted
from tests.runtime.loaded import load
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.language.batch import MAX_BATCH, batches
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result

IMAGE = DATA / "golden-phi3" / "image.png"
PHRASES = ["a car", "the small red car on the left of the road", "sky", "the road", "a very tall green tree"]


def close(found: list[Result], expected: list[Result]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.task, a.text, a.prompt, a.token_ids, a.labels) == (b.task, b.text, b.prompt, b.token_ids, b.labels)
        assert (a.answered, a.reason) == (b.answered, b.reason)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
        np.testing.assert_array_equal(a.masks, b.masks)


@pytest.mark.parametrize("answer", ["append", "greedy"])
@pytest.mark.parametrize("bundle", ["phi3_bundle", "qwen3_bundle"])
def test_many_equal_one_by_one(request: pytest.FixtureRequest, bundle: str, answer: str) -> None:
    """Random weights: decoded answers go their own ways, each from another place."""
    model = XSam.load(request.getfixturevalue(bundle), threads=1, verify="none", context=140)
    with model.look(IMAGE) as scene:
        for ask, asked in ((scene.refer, PHRASES), (scene.reason, ["What can one drive?", "What is far away?"])):
            one_by_one = [ask(text, answer=answer) for text in asked]
            close(ask(asked, answer=answer), one_by_one)
            close(ask(tuple(asked), answer=answer, several=True, threshold=0.1), [
                ask(text, answer=answer, several=True, threshold=0.1) for text in asked
            ])  # fmt: skip


def test_a_batch_is_one_forward(shapes_bundle: Path) -> None:
    """The demo model answers in the known form: the image, then all prompts, then all masks."""
    model = XSam.load(shapes_bundle, threads=1, verify="none")
    phrases = ["the circle", "the red shape", "the largest shape", "the star", "the blue square"]
    pixels = draw(compose(11), 160).pixels
    with model.look(pixels) as scene:
        one_by_one = [scene.refer(phrase) for phrase in phrases]
    with model.look(pixels) as scene, counted(model) as counts:
        close(scene.refer(phrases), one_by_one)
        assert len(counts) == 2 and counts[0] > model.manifest.settings.model.image_tokens > counts[1]
        results = scene.refer(phrases)
        assert len(counts) == 3
    assert [result.llm_forwards for result in results] == [1] * 5
    assert {"llm", "mask_decoder", "postprocess"} <= set(results[0].timings)
    plain = XSam.load(shapes_bundle, threads=1, verify="none", speculative=False)
    with plain.look(pixels) as scene:
        close(scene.refer(phrases), one_by_one)


def test_only_an_answer_of_its_own_is_decoded(shapes_bundle: Path) -> None:
    """One prompt departs from what is expected, the others do not wait for it."""
    model = XSam.load(shapes_bundle, threads=1, verify="none")
    pixels = draw(compose(11), 160).pixels
    phrases = ["the circle", "the star", "the largest shape"]
    language = model.language
    with model.look(pixels) as scene:
        expected = [scene.refer(phrase) for phrase in phrases]
        expect, wrong = language.draft, language.tokenizer.encode("the star")[0]

        def mislead(request, ids):
            draft = expect(request, ids)
            return np.concatenate([draft[:2], [wrong], draft[3:]]) if "the star" in request.prompt.text else draft

        language.draft = mislead  # type: ignore[method-assign]
        found = scene.refer(phrases)
    close(found, expected)
    assert [result.llm_forwards == 1 for result in found] == [True, False, True]


def test_a_small_context_divides_the_batch(shapes_bundle: Path) -> None:
    phrases = ["the circle", "the star", "the largest shape", "the red shape on the left"]
    pixels = draw(compose(11), 160).pixels
    wide = XSam.load(shapes_bundle, threads=1, verify="none")
    with wide.look(pixels) as scene:
        expected = scene.refer(phrases)
    longest = max(len(encode(wide.language, result.prompt)) + 6 for result in expected)
    model = XSam.load(shapes_bundle, threads=1, verify="none", context=longest)
    with model.look(pixels) as scene, counted(model) as counts:
        close(scene.refer(phrases), expected)
    assert len(counts) == 5  # the image, and each prompt by itself: their rows do not fit beside each other


def test_batches() -> None:
    assert batches([10, 12, 11], 5, 100) == [[0, 2, 1]]
    assert batches([10, 12, 11], 5, 12) == [[0], [2], [1]]
    assert batches([30] * 3, 20, 40) == [[0, 1], [2]]
    assert [len(batch) for batch in batches([30] * (2 * MAX_BATCH + 1), 20, 4096)] == [MAX_BATCH, MAX_BATCH, 1]
    # Short prompts do not pay for a long one more than the rows that a forward may have.
    assert batches([110, 110, 400], 100, 4096) == [[0, 1], [2]] or batches([110, 110, 400], 100, 4096) == [[0, 1, 2]]
    assert batches([], 5, 100) == []


def test_lists_that_are_empty_or_wrong(phi3_bundle: Path) -> None:
    with load(phi3_bundle).look(IMAGE) as scene:
        assert scene.refer([]) == [] and scene.reason(()) == []
        assert len(scene.refer(["a car"], answer="append")) == 1
        with pytest.raises(InputError, match="is empty"):
            scene.refer(["a car", " "])
        with pytest.raises(InputError, match="choose 'greedy' or 'append'"):
            scene.refer(["a car"], answer="maybe")  # type: ignore[call-overload]


def test_a_prompt_that_is_too_long_among_others(phi3_bundle: Path) -> None:
    model = load(phi3_bundle, context=70)
    with model.look(IMAGE) as scene:
        with pytest.raises(ContextLengthError, match="the context holds 70"):
            scene.refer(["car", "a very long description " * 8])
        assert scene.refer("car", answer="append").answered


def test_a_bundle_for_one_prompt_at_a_time(shapes_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = XSam.load(shapes_bundle, threads=1, verify="none")
    with model.look(draw(compose(11), 160).pixels) as scene:
        for answer in ("greedy", "append"):
            expected = scene.refer(["the circle", "the star"], answer=answer)
            monkeypatch.setattr(model.pipeline, "batches", False)
            close(scene.refer(["the circle", "the star"], answer=answer), expected)
            monkeypatch.undo()
