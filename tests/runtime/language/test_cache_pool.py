from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from tests.runtime.language.one import append
from tests.runtime.language.test_generate import counted
from tests.runtime.loaded import load
from tests.runtime.test_scene import same
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

CONTEXT = 160


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(4)]


@pytest.fixture(scope="module")
def sizes(phi3_bundle: Path) -> tuple[int, int]:
    """Bytes of a cache and of an image's features."""
    model = XSam.load(phi3_bundle, context=CONTEXT, threads=1, verify="none")
    return model.pipeline.cache.nbytes, model.look(DATA / "golden-phi3" / "image.png").features.nbytes


@pytest.fixture
def open_scenes(phi3_bundle: Path, pictures: list[np.ndarray]) -> Callable[[int, int], tuple[XSam, list[Scene]]]:
    def run(scene_bytes: int, count: int) -> tuple[XSam, list[Scene]]:
        model = XSam.load(phi3_bundle, context=CONTEXT, threads=1, verify="none", scene_bytes=scene_bytes)
        return model, [model.look(picture) for picture in pictures[:count]]

    return run


def prefills(model: XSam, scenes: list[Scene], order: list[int]) -> list[int]:
    """Which of the questions computed the image's tokens."""
    with counted(model) as counts:
        asked = []
        for index in order:
            before = len(counts)
            scenes[index].refer("a car", answer="append")
            asked.append(max(counts[before:]) > model.manifest.settings.model.image_tokens)
    return [place for place, whole in enumerate(asked) if whole]


def test_scenes_take_turns_while_memory_lasts(open_scenes, sizes: tuple[int, int]) -> None:
    cache, features = sizes
    model, scenes = open_scenes(2 * cache + 3 * features, 3)
    assert prefills(model, scenes, [0, 1, 2, 0, 1, 2, 2, 0]) == [0, 1, 2]
    assert model.language.cache_pool.count == 3
    assert model.language.cache_pool.nbytes == 2 * cache + 3 * features


def test_the_scene_that_was_used_least_recently_gives_way(open_scenes, sizes: tuple[int, int]) -> None:
    cache, features = sizes
    model, scenes = open_scenes(cache + 3 * features, 3)
    #                                        0  1  0  2     0  1     2
    assert prefills(model, scenes, [0, 1, 0, 2, 0, 1, 2]) == [0, 1, 3, 5, 6]
    assert model.language.cache_pool.count == 2


def test_one_scene_needs_one_cache(phi3_bundle: Path, pictures: list[np.ndarray]) -> None:
    """Also where scenes follow each other, closed or forgotten."""
    model = XSam.load(phi3_bundle, context=CONTEXT, threads=1, verify="none")
    for picture in pictures[:2]:
        with model.look(picture) as scene:
            scene.refer("a car", answer="append")
    scene = model.look(pictures[2])
    scene.refer("a car", answer="append")
    assert model.language.cache_pool.count == 1
    del scene
    gc.collect()
    assert model.language.cache_pool.nbytes == 0
    model.look(pictures[3]).refer("a car", answer="append")
    assert model.language.cache_pool.count == 1


def test_features_beyond_the_limit_are_computed_anew(
    open_scenes, sizes: tuple[int, int], pictures: list[np.ndarray]
) -> None:
    generous, expected_from = open_scenes(1 << 30, 3)
    expected = [scene.refer("a car") for scene in expected_from]
    assert generous.language.cache_pool.count == 3
    _, features = sizes
    model, scenes = open_scenes(2 * features, 3)
    held = [scene.feature_bytes() > 0 for scene in scenes]
    assert held == [False, True, True]
    for index in (0, 1, 2, 1, 0):
        assert same(scenes[index].refer("a car"), expected[index])
        assert model.language.cache_pool.nbytes <= 2 * features
        assert scenes[index].feature_bytes() == features
    assert model.language.cache_pool.count == 1


def test_without_memory_for_scenes_the_one_in_use_is_kept(open_scenes, sizes: tuple[int, int]) -> None:
    model, scenes = open_scenes(0, 2)
    assert prefills(model, scenes, [1, 1, 0, 0, 1]) == [0, 2, 4]
    assert model.language.cache_pool.count == 1


def test_a_closed_scene_makes_room(open_scenes, sizes: tuple[int, int]) -> None:
    cache, features = sizes
    model, scenes = open_scenes(cache + 3 * features, 3)
    assert prefills(model, scenes, [0, 1]) == [0, 1]
    scenes[0].close()
    assert prefills(model, scenes, [2, 1, 2]) == [0]
    with pytest.raises(InputError, match="this scene was closed"):
        scenes[0].refer("a car")


def test_caches_are_given_back_when_features_need_the_room(open_scenes, sizes: tuple[int, int]) -> None:
    cache, features = sizes
    assert cache <= 2 * features
    model, scenes = open_scenes(4 * features, 2)
    prefills(model, scenes, [0, 1])
    assert model.language.cache_pool.count == 2
    more = [model.look(np.zeros((20, 20, 3), np.uint8)) for _ in range(2)]
    assert model.language.cache_pool.count == 1
    assert prefills(model, scenes, [1, 0]) == [1]
    assert all(scene.feature_bytes() for scene in more)


def test_two_beginnings_of_one_image_share_its_cache(phi3_bundle: Path) -> None:
    model = load(phi3_bundle)
    scene = model.look(DATA / "golden-phi3" / "image.png")
    form = model.manifest.settings.prompt
    text = form.instruction.replace("{input}", f"{form.image_token}Where is <p>a car</p>?")
    before = None
    for beginning in ("", "<s>", ""):
        with counted(model) as counts:
            append(model.language, beginning + text, "It is <SEG>.", scene.features)
        assert counts[0] > model.manifest.settings.model.image_tokens, "computed anew"
        assert before in (None, model.language.cache_pool.count)
        before = model.language.cache_pool.count


def test_a_limit_below_zero_is_refused(phi3_bundle: Path) -> None:
    with pytest.raises(InputError, match="scene_bytes is -1"):
        XSam.load(phi3_bundle, scene_bytes=-1, verify="none")
