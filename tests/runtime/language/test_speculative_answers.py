"""Whatever is expected of an answer, what comes out is that of greedy decoding, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA, load_reference, meta
from tests.runtime.language.one import encode, generate
from tests.runtime.language.test_generate import LINES, RECORDED, regions
from tests.runtime.loaded import load
from tests.runtime.test_scene import FOLDER, QUESTIONS, same
from xsam_edge.runtime.language.answer import Answer
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.language.speculative import NO_DRAFT, Drafter
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

LENGTH = 7
Decode = Callable[..., Answer]


def equal(found: Answer, expected: Answer) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    assert (found.text, found.phrases, len(found.hidden)) == (expected.text, expected.phrases, len(expected.hidden))
    np.testing.assert_allclose(found.hidden, expected.hidden, atol=1e-5)
    for a, b in ((found.conditions, expected.conditions), (found.seg, expected.seg)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_allclose(a, b, atol=1e-5)


def drafts_of(ids: np.ndarray, vocabulary: int) -> Iterator[tuple[np.ndarray, int]]:
    """Drafts of an answer, and how many of its ids each gives at once."""
    count = len(ids)
    yield NO_DRAFT, 1
    yield ids, count
    yield ids[:-1], count - 1
    yield np.concatenate([ids, ids, ids]), count
    yield np.array([0]), 1
    for wrong in range(count - 1):
        draft = ids.copy()
        draft[wrong] = (draft[wrong] + 1) % vocabulary
        yield draft, wrong + 1
        yield draft[: wrong + 1], wrong + 1
        yield np.delete(ids, wrong), 0  # two equal ids in turn may hide it


@pytest.mark.parametrize(("line", "task"), RECORDED)
def test_no_draft_changes_an_answer(request: pytest.FixtureRequest, line: str, task: str) -> None:
    """Every recorded prompt, with drafts that are right, too short, too long, and wrong at each position."""
    fixture, folder, prefix = LINES[line]
    model = load(request.getfixturevalue(fixture))
    arrays = load_reference(folder, prefix + task)
    mode = "predict" if "predict/meta" in arrays else "tensor"
    facts = meta(arrays, mode)
    text = (model.manifest.settings.prompt.bos if facts["bos"] else "") + facts["input_text"]
    scene = model.look(DATA / folder / "image.png")
    tokens = regions(model, scene, arrays, mode)
    language = model.language
    generate(language, text, scene.features, tokens, 1)  # from here on the image's prefix is known, or never is
    plain = generate(language, text, scene.features, tokens, LENGTH)
    assert plain.forwards == len(plain.ids)
    for draft, at_once in drafts_of(plain.ids, model.manifest.settings.model.vocab_size):
        found = generate(language, text, scene.features, tokens, LENGTH, draft)
        equal(found, plain)
        assert model.pipeline.cache.length == len(encode(language, text)) + len(plain.ids) - 1
        if at_once:
            assert found.forwards == 1 + len(plain.ids) - at_once


@pytest.fixture
def scene(phi3_bundle: Path) -> Scene:
    return load(phi3_bundle).look(FOLDER / "image.png")


@pytest.fixture
def decode(phi3_bundle: Path, scene: Scene) -> Decode:
    """Decode one prompt, with the settings of the language model changed."""
    original = load(phi3_bundle).language
    form = original.settings.prompt
    text = form.instruction.replace("{input}", f"{form.image_token}Where is <p>a car</p>?")

    def run(draft: np.ndarray = NO_DRAFT, limit: int = 12, eos: int | None = None, word: str = "\0") -> Answer:
        settings = replace(
            original.settings,
            tokens=replace(original.settings.tokens, eos=eos),
            prompt=replace(form, stop_words=(word,)),
        )
        language = LanguageModel(
            original.pipeline, original.tokenizer, original._table, settings, original.cache_pool, original.drafter
        )
        return generate(language, text, scene.features, None, limit, draft)

    run()
    return run


def test_an_answer_that_ends_by_the_end_token(decode: Decode) -> None:
    free = decode().ids
    end = next(place for place in range(2, len(free)) if free[place] not in free[:place])
    plain = decode(eos=int(free[end]))
    assert len(plain.ids) == end + 1
    for draft in (free, free[: end + 1], free[:end], np.concatenate([free[: end + 1], [1, 2]])):
        equal(decode(draft, eos=int(free[end])), plain)
    assert decode(free, eos=int(free[end])).forwards == 1


def test_an_answer_that_ends_by_a_word_of_several_tokens(decode: Decode, phi3_bundle: Path) -> None:
    free = decode().ids
    word = load(phi3_bundle).language.tokenizer.decode(free[:6])[-9:]
    plain = decode(word=word)
    assert plain.text.endswith(word) and 1 < len(plain.ids) <= 6
    for draft in (free, plain.ids, np.concatenate([plain.ids[:-1], [3, 4]])):
        equal(decode(draft, word=word), plain)
    assert decode(free, word=word).forwards == 1


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_draft_exceeds_the_limit(decode: Decode, limit: int) -> None:
    plain = decode(limit=limit)
    found = decode(decode().ids, limit)
    equal(found, plain)
    assert len(found.ids) == limit and found.forwards == 1


def test_no_draft_exceeds_the_context(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(phi3_bundle, context=60)
    monkeypatch.setattr(model.language, "stops", lambda ids: False)
    scene = model.look(FOLDER / "image.png")
    form = model.manifest.settings.prompt
    text = form.instruction.replace("{input}", f"{form.image_token}Where is <p>a car</p>?")
    generate(model.language, text, scene.features, None, 1)
    plain = generate(model.language, text, scene.features)
    assert model.pipeline.cache.length == 60
    for draft in (plain.ids, np.concatenate([plain.ids, plain.ids]), plain.ids[:-1]):
        equal(generate(model.language, text, scene.features, None, draft=draft), plain)
        assert model.pipeline.cache.length == 60


@pytest.fixture(scope="module")
def models(shapes_bundle: Path) -> tuple[XSam, XSam]:
    """The demo model, which ends its answers, without and with drafts."""
    return tuple(
        XSam.load(shapes_bundle, threads=1, verify="none", speculative=speculative) for speculative in (False, True)
    )  # type: ignore[return-value]


TASKS = {
    "refer": lambda scene: scene.refer("the blue circle"),
    "reason": lambda scene: scene.reason("Which shape is the largest?"),
    "categories": lambda scene: scene.categories(["circle", "star"], ["grass", "sky"]),
    "region": lambda scene: scene.regions(boxes=[(5, 5, 90, 90)]),
    "regions": lambda scene: scene.regions(boxes=[(5, 5, 90, 90), (40, 60, 150, 160)]),
    "describe": lambda scene: scene.describe(),
    "chat": lambda scene: scene.chat("What is in the picture?"),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_a_trained_model(models: tuple[XSam, XSam], task: str) -> None:
    """Tokens and masks, over three images, whatever was learnt from the answers before."""
    from xsam_edge.calibration.shapes.composition import compose
    from xsam_edge.calibration.shapes.draw import draw

    plain, drafted = models
    drafted.language.drafter = Drafter()
    for seed in (3, 20_001, 20_002):
        pixels = draw(compose(seed), 160).pixels
        with plain.look(pixels) as one, drafted.look(pixels) as other:
            expected, found = TASKS[task](one), TASKS[task](other)
        assert found.token_ids == expected.token_ids and same(found, expected)
        assert expected.llm_forwards == len(expected.token_ids)
        if task in ("describe", "chat"):
            assert found.llm_forwards <= expected.llm_forwards
        else:
            assert found.llm_forwards == 1


@pytest.mark.parametrize("task", TASKS)
def test_a_book_of_wrong_answers(models: tuple[XSam, XSam], task: str) -> None:
    from xsam_edge.calibration.shapes.composition import compose
    from xsam_edge.calibration.shapes.draw import draw

    plain, drafted = models
    with plain.look(draw(compose(5), 160).pixels) as one, drafted.look(one.image) as other:
        expected = TASKS[task](one)
        ids = np.array(expected.token_ids)
        for wrong in range(min(len(ids), 8)):
            drafted.language.drafter = Drafter()
            bad = ids.copy()
            bad[wrong] = 17
            drafted.language.drafter.record(expected.task, [], bad)
            found = TASKS[task](other)
            assert found.token_ids == expected.token_ids and same(found, expected)
            # From now on the right answer is expected.
            assert TASKS[task](other).llm_forwards == 1 or task in ("describe", "chat")


@pytest.mark.parametrize("name", QUESTIONS)
def test_random_weights_learn_from_their_answers(phi3_bundle: Path, name: str) -> None:
    """Answers that are of no known form, cut by the context."""
    plain = XSam.load(phi3_bundle, threads=1, verify="none", context=260, speculative=False)
    drafted = XSam.load(phi3_bundle, threads=1, verify="none", context=260)
    with plain.look(FOLDER / "image.png") as one, drafted.look(FOLDER / "image.png") as other:
        expected = QUESTIONS[name](one)
        for _ in range(2):
            found = QUESTIONS[name](other)
            assert found.token_ids == expected.token_ids and same(found, expected)
