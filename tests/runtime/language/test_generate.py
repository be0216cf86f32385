from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA, load_reference, meta
from tests.runtime.language.one import append, encode, generate
from tests.runtime.loaded import load
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

LINES = {
    "main": ("phi3_bundle", "golden-phi3", ""),
    "aaai26": ("aaai26_bundle", "golden-phi3", "aaai_"),
    "qwen3": ("qwen3_bundle", "golden-qwen3", ""),
}
RECORDED = [
    pytest.param(line, path.stem.removeprefix(prefix), id=f"{line}-{path.stem}")
    for line, (_, folder, prefix) in LINES.items()
    for path in sorted((DATA / folder).glob(f"{prefix}img_*.npz"))
]


@contextmanager
def counted(model: XSam) -> Iterator[list[int]]:
    """The number of tokens of every forward of the language model."""
    counts: list[int] = []
    forward = model.pipeline.forward

    def count(inputs_embeds, logits_positions):
        counts.append(inputs_embeds.shape[1])
        return forward(inputs_embeds, logits_positions)

    model.pipeline.forward = count  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        del model.pipeline.forward


def regions(model: XSam, scene: Scene, arrays: dict[str, np.ndarray], mode: str) -> np.ndarray | None:
    """Region tokens from the recorded points."""
    keys = sorted(key for key in arrays if key.startswith(f"{mode}/sampler.points_yx."))
    points = [arrays[key].reshape(-1, *arrays[key].shape[-2:]) for key in keys]
    return model.language.region_tokens(scene.features, np.concatenate(points)) if points else None


@pytest.fixture
def model(phi3_bundle: Path) -> XSam:
    return load(phi3_bundle)


@pytest.fixture
def scene(model: XSam) -> Scene:
    return model.look(DATA / "golden-phi3" / "image.png")


@pytest.mark.parametrize(("line", "task"), RECORDED)
def test_answers_are_the_recorded_ones(request: pytest.FixtureRequest, line: str, task: str) -> None:
    """Both ways to an answer: ids, text, phrases and what the mask decoder makes of them."""
    fixture, folder, prefix = LINES[line]
    model = load(request.getfixturevalue(fixture))
    arrays = load_reference(folder, prefix + task)
    scene = model.look(DATA / folder / "image.png")
    form = model.manifest.settings.prompt
    for mode in ("predict", "tensor"):
        if f"{mode}/meta" not in arrays:
            continue
        facts = meta(arrays, mode)
        text = (form.bos if facts["bos"] else "") + facts["input_text"]
        tokens = regions(model, scene, arrays, mode)
        if mode == "predict":
            given = generate(model.language, text, scene.features, tokens)
            np.testing.assert_array_equal(given.ids, arrays["predict/generated_ids"][0])
            assert given.text == facts["generated_text"]
            assert list(given.phrases) == facts["generated_phrases"]
        elif task == "img_chat":
            continue
        else:
            given = append(model.language, text, facts["output_text"], scene.features, tokens)
        if task == "img_chat":
            assert given.conditions is None and given.seg is None
            continue
        classes, masks = model.pipeline.decode_masks(scene.features, given.seg, given.conditions)
        np.testing.assert_allclose(classes, arrays[f"{mode}/class_queries_logits"][0], atol=1e-4)
        if f"{mode}/decoder.masks_lowres.3" in arrays:
            np.testing.assert_allclose(masks, arrays[f"{mode}/decoder.masks_lowres.3"][0], atol=1e-4)
        if f"{mode}/segmentor.in.cond_embeds" in arrays:
            conditions = arrays[f"{mode}/segmentor.in.cond_embeds"][0, :-1]
            np.testing.assert_allclose(given.conditions, conditions, atol=1e-4)
            np.testing.assert_allclose(given.seg, arrays[f"{mode}/segmentor.in.seg_embeds"][0, 0], atol=1e-4)


def prompt(model: XSam, phrase: str) -> str:
    form = model.manifest.settings.prompt
    return form.instruction.replace("{input}", f"{form.image_token}Where is <p>{phrase}</p>?")


def test_cached_tokens_are_not_computed_again(model: XSam, scene: Scene) -> None:
    prefix = len(encode(model.language, "<|user|>\n<image>"))
    image_tokens = model.manifest.settings.model.image_tokens
    assert prefix > image_tokens
    first, second = prompt(model, "a car"), prompt(model, "the road")
    with counted(model) as counts:
        append(model.language, first, "It is <SEG>.", scene.features)
        append(model.language, second, "It is <SEG>.", scene.features)
        append(model.language, first, "It is <SEG>.", scene.features)
    whole, *suffixes = counts
    assert whole > prefix
    assert all(count < image_tokens for count in suffixes)
    # Each suffix is the prompt behind the image, up to <SEG>.
    lengths = [len(encode(model.language, text, "It is <SEG>")) for text in (first, second, first)]
    assert [whole, *(prefix + count for count in suffixes)] == lengths


def test_decoding_computes_one_token_at_a_time(model: XSam, scene: Scene) -> None:
    with counted(model) as counts:
        given = generate(model.language, prompt(model, "a car"), scene.features, max_new_tokens=4)
    assert counts[1:] == [1] * (len(given.ids) - 1)
    assert len(given.ids) <= 4


def test_a_reused_prefix_gives_the_same_answer(model: XSam, scene: Scene) -> None:
    text = prompt(model, "the red car")
    model.language.forget(scene.features)
    with counted(model) as counts:
        fresh = generate(model.language, text, scene.features, max_new_tokens=8)
        append(model.language, prompt(model, "something else"), "It is <SEG>.", scene.features)
        reused = generate(model.language, text, scene.features, max_new_tokens=8)
    prefix = len(encode(model.language, "<|user|>\n<image>"))
    assert counts[0] > prefix > max(counts[1:])
    assert reused.first == fresh.first == prefix, "of the image no rows are read"
    np.testing.assert_array_equal(reused.ids, fresh.ids)
    np.testing.assert_allclose(reused.hidden, fresh.hidden, atol=1e-5)
    np.testing.assert_allclose(reused.conditions, fresh.conditions, atol=1e-5)


def test_rows_of_the_image_are_read_where_they_are_asked_for(model: XSam, scene: Scene) -> None:
    text = prompt(model, "a car")
    answers = []
    for every_row in (False, True):
        model.language.forget(scene.features)
        answers.append(generate(model.language, text, scene.features, max_new_tokens=4, every_row=every_row))
    few, every = answers
    assert every.first == 0 and len(every.hidden) == len(few.hidden) + few.first
    np.testing.assert_allclose(few.hidden, every.hidden[few.first :], atol=1e-5)
    np.testing.assert_allclose(few.conditions, every.conditions, atol=1e-5)


def test_a_prefix_belongs_to_one_image_and_one_beginning(model: XSam, scene: Scene) -> None:
    other = model.look(np.zeros((40, 60, 3), np.uint8))
    text = prompt(model, "a car")
    expected = {}
    for name, place in (("scene", scene), ("other", other)):
        model.language.forget(place.features)
        expected[name] = append(model.language, text, "It is <SEG>.", place.features)
    for name, place in [("scene", scene), ("other", other)] * 2:  # in turns
        found = append(model.language, text, "It is <SEG>.", place.features)
        np.testing.assert_allclose(found.seg, expected[name].seg, atol=1e-5)
    assert not np.allclose(expected["scene"].seg, expected["other"].seg, atol=1e-3)
    with counted(model) as counts:
        with_bos = append(model.language, "<s>" + text, "It is <SEG>.", other.features)
    assert counts[0] > model.manifest.settings.model.image_tokens  # computed anew, in the image's own cache
    assert not np.allclose(with_bos.seg, expected["other"].seg, atol=1e-4)


def test_a_failed_forward_leaves_no_prefix(model: XSam, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    text = prompt(model, "a car")
    expected = append(model.language, text, "It is <SEG>.", scene.features)

    def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    with monkeypatch.context() as patch:
        patch.setattr(model.pipeline, "forward", fail)
        with pytest.raises(RuntimeError, match="device lost"):
            append(model.language, text, "It is <SEG>.", scene.features)
    with counted(model) as counts:
        found = append(model.language, text, "It is <SEG>.", scene.features)
    assert counts[0] > model.manifest.settings.model.image_tokens
    np.testing.assert_allclose(found.seg, expected.seg, atol=1e-5)


def test_two_regions_that_follow_one_image_are_told_apart(model: XSam, scene: Scene) -> None:
    """Their tokens are behind the shared prefix, with equal ids."""
    form = model.manifest.settings.prompt
    text = form.instruction.replace("{input}", f"{form.image_token}Segment <p><region></p>.")
    rng = np.random.default_rng(0)
    first, second = (
        model.language.region_tokens(scene.features, rng.random((1, 256, 2), np.float32) * 0.3 + low)
        for low in (0, 0.3)
    )
    a, b, again = (
        append(model.language, text, "It is <SEG>.", scene.features, part) for part in (first, second, first)
    )
    assert not np.allclose(a.conditions, b.conditions, atol=1e-3)
    np.testing.assert_allclose(again.conditions, a.conditions, atol=1e-5)


def test_a_long_prompt_says_what_is_too_long(phi3_bundle: Path) -> None:
    model = load(phi3_bundle, context=60)
    scene = model.look(DATA / "golden-phi3" / "image.png")
    image_tokens = model.manifest.settings.model.image_tokens
    long = prompt(model, "a very long description " * 8)
    with pytest.raises(ContextLengthError, match=rf"\({image_tokens} of them the image\), the context holds 60"):
        generate(model.language, long, scene.features)
    # The next question is answered as if nothing had happened.
    assert len(generate(model.language, prompt(model, "car"), scene.features, max_new_tokens=2).ids) == 2


def test_decoding_ends_with_the_context(phi3_bundle: Path) -> None:
    model = load(phi3_bundle, context=60)
    scene = model.look(DATA / "golden-phi3" / "image.png")
    text = prompt(model, "car")
    room = 60 - len(encode(model.language, text))
    stops = model.language.stops
    model.language.stops = lambda ids: False  # type: ignore[method-assign]
    try:
        given = generate(model.language, text, scene.features)
    finally:
        model.language.stops = stops  # type: ignore[method-assign]
    assert len(given.ids) == room + 1
    assert model.pipeline.cache.length == 60


def test_generation_stops(model: XSam) -> None:
    language, tokenizer = model.language, model.language.tokenizer
    end = tokenizer.encode("It is <SEG>.<|end|>").tolist()
    assert language.stops(end)
    assert not language.stops(end[:-1])
    eos = model.manifest.settings.tokens.eos
    assert eos is None or language.stops([eos])


def test_how_many_tokens(model: XSam, scene: Scene) -> None:
    assert len(generate(model.language, prompt(model, "car"), scene.features, max_new_tokens=1).ids) == 1
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        generate(model.language, prompt(model, "car"), scene.features, max_new_tokens=0)


def test_an_answer_without_or_with_two_seg(model: XSam, scene: Scene) -> None:
    text = prompt(model, "car")
    for answer, expected in (("I see none.", False), ("<SEG> and <SEG>.", False), ("<SEG>", True)):
        given = append(model.language, text, answer, scene.features)
        assert (given.seg is not None) == expected
        assert given.conditions is not None


def test_what_follows_seg_does_not_matter(model: XSam, scene: Scene) -> None:
    text = prompt(model, "car")
    short, long = (
        append(model.language, text, answer, scene.features) for answer in ("It is <SEG>", "It is <SEG>.<|end|> and on")
    )
    np.testing.assert_allclose(short.seg, long.seg, atol=1e-5)
