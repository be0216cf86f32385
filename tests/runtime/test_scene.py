from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recorded import DATA
from tests.runtime.loaded import load
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

FOLDER = DATA / "golden-phi3"
QUESTIONS = {
    "refer": lambda scene, **options: scene.refer("a car", **options),
    "several": lambda scene, **options: scene.refer("a car", several=True, **options),
    "reason": lambda scene, **options: scene.reason("What can one drive?", **options),
    "panoptic": lambda scene, **options: scene.categories(["car", "person"], ["road"], **options),
    "instances": lambda scene, **options: scene.categories(["car", "person"], threshold=0.0, **options),
    "semantic": lambda scene, **options: scene.categories(stuff=["road", "sky"], **options),
    "box": lambda scene, **options: scene.regions(boxes=[(10, 10, 60, 70)], **options),
    "point": lambda scene, **options: scene.regions(points=[(30, 40)], **options),
    "similar": lambda scene, **options: scene.regions(
        boxes=[(10, 10, 60, 70)], masks=[FOLDER / "vpmask0.png"], threshold=0.0, **options
    ),
}


@pytest.fixture
def model(phi3_bundle: Path) -> XSam:
    return load(phi3_bundle)


@pytest.fixture
def scene(model: XSam) -> Scene:
    return model.look(FOLDER / "image.png")


def same(a: Result, b: Result) -> bool:
    """Equal but for scores, which may differ in the last digits where a prefix was reused."""
    return (
        (a.task, a.text, a.prompt, len(a)) == (b.task, b.text, b.prompt, len(b))
        and all(
            np.array_equal(x.mask, y.mask) and x.label_id == y.label_id
            for x, y in zip(a.segments, b.segments, strict=True)
        )
        and all(abs(x.score - y.score) < 1e-4 for x, y in zip(a.segments, b.segments, strict=True))
        and (a.id_map is None) == (b.id_map is None)
        and (a.id_map is None or np.array_equal(a.id_map, b.id_map))
    )


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("bundle", ["phi3_bundle", "aaai26_bundle", "qwen3_bundle"])
def test_every_question_has_an_answer(request: pytest.FixtureRequest, bundle: str, name: str) -> None:
    scene = load(request.getfixturevalue(bundle)).look(FOLDER / "image.png")
    given = QUESTIONS[name](scene, answer="append")
    assert given.answered and given.reason == ""
    assert given.text == ""
    assert given.image_size == (100, 150)
    for segment in given.segments:
        assert segment.mask.shape == (100, 150) and segment.mask.dtype == bool
        assert 0 <= segment.score <= 1 + 1e-6
    if name in ("refer", "several", "reason", "box", "point"):
        assert len(given) == 1
    if name in ("panoptic", "semantic"):
        assert given.id_map.shape == (100, 150)
    decoded = QUESTIONS[name](scene)
    assert decoded.text
    assert decoded.answered == (decoded.reason == "")


def test_describe_and_chat(scene: Scene) -> None:
    caption = scene.describe()
    assert caption.task == "gcgseg"
    assert all(segment.label for segment in caption.segments)
    assert caption.caption and not any(mark in caption.caption for mark in ("<p>", "</p>", "<SEG>", "<|end|>"))
    said = scene.chat("What is in the picture?", max_new_tokens=5)
    assert said.task == "chat" and said.segments == () and not said.text.endswith("<|end|>")


def test_questions_do_not_disturb_each_other(model: XSam) -> None:
    """Every question asked first of a fresh scene, and after all others of one that was used."""
    used = model.look(FOLDER / "image.png")
    for answer in ("append", "greedy"):
        for name, ask in QUESTIONS.items():
            fresh = model.look(FOLDER / "image.png")
            assert same(ask(fresh, answer=answer), ask(used, answer=answer)), name
            fresh.close()


def test_scenes_may_take_turns(model: XSam) -> None:
    pixels = np.asarray(Image.open(FOLDER / "image.png").convert("RGB"))
    images = [pixels, pixels[::-1].copy()]
    expected = [model.look(image).refer("a car") for image in images]
    assert not same(*expected)
    scenes = [model.look(image) for image in images]
    for index in (0, 1, 1, 0, 1, 0, 0):
        assert same(scenes[index].refer("a car"), expected[index])


def test_a_closed_scene_says_so(model: XSam) -> None:
    with model.look(FOLDER / "image.png") as scene:
        features = scene.features
        scene.refer("a car", answer="append")
        assert model.language.cache_pool.knows(features)
    assert not model.language.cache_pool.knows(features)
    for ask in (*QUESTIONS.values(), lambda s: s.describe(), lambda s: s.chat("What?")):
        with pytest.raises(InputError, match="this scene was closed"):
            ask(scene)
    scene.close()
    del features


def test_closing_frees_the_features(model: XSam) -> None:
    scene = model.look(FOLDER / "image.png")
    scene.refer("a car")
    memory = weakref.ref(scene.features)
    scene.close()
    gc.collect()
    assert memory() is None


def test_closing_one_scene_keeps_the_prefix_of_another(model: XSam, scene: Scene) -> None:
    other = model.look(FOLDER / "image.png")
    scene.refer("a car", answer="append")
    other.close()
    assert model.language.cache_pool.knows(scene.features)


def test_a_prompt_that_is_too_long_leaves_the_scene_usable(phi3_bundle: Path) -> None:
    scene = load(phi3_bundle, context=60).look(FOLDER / "image.png")
    with pytest.raises(ContextLengthError, match="load the bundle with a larger context"):
        scene.categories([f"thing number {index}" for index in range(30)])
    assert scene.chat("Hi?", max_new_tokens=1).text is not None


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.refer(" "), "is empty"),
        (lambda s: s.refer("a <SEG> b"), "controls the model"),
        (lambda s: s.refer("x <|end|>"), "controls the model"),
        (lambda s: s.refer("a", answer="maybe"), "choose 'greedy' or 'append'"),
        (lambda s: s.categories(), "no category was given"),
        (lambda s: s.categories("car"), "must be a list of names"),
        (lambda s: s.categories(["car", "Car"]), "give each name once"),
        (lambda s: s.categories(["a"], instances=True, semantic=True), "choose one"),
        (lambda s: s.regions(), "no region was given"),
        (lambda s: s.regions(boxes=[(0, 0, 5, 5), (1, 1, 9, 9)], similar=False), "one object is asked for"),
        (lambda s: s.regions(boxes=[(200, 200, 300, 300)]), "box"),
        (lambda s: s.regions(points=[(500, 500)]), "point"),
        (lambda s: s.regions(masks=[np.zeros((5, 5), np.uint8)]), "mask"),
        (lambda s: s.chat("Hi?", max_new_tokens=0), "max_new_tokens is 0"),
    ],
)
def test_wrong_questions(scene: Scene, ask, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(scene)
