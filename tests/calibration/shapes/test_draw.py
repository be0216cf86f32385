from __future__ import annotations

import numpy as np
import pytest

from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.calibration.shapes.scene import make_scene

NEAR = {"red": (220, 40, 40), "green": (20, 160, 65), "blue": (35, 65, 220), "white": (245, 245, 245)}


@pytest.mark.parametrize("size", [48, 96, 200])
def test_a_drawing_is_repeatable(size: int) -> None:
    first, second = draw(make_scene(3), size), draw(make_scene(3), size)
    assert first.pixels.shape == (size, size, 3) and first.pixels.dtype == np.uint8
    assert first.index.shape == (size, size) and first.index.dtype == np.uint8
    assert (first.pixels == second.pixels).all() and (first.index == second.index).all()


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_hidden(seed: int) -> None:
    scene = make_scene(seed)
    index = draw(scene, 96).index
    areas = np.bincount(index.ravel(), minlength=len(scene.things) + len(scene.grounds))
    assert len(areas) == len(scene.things) + len(scene.grounds)
    assert areas[: len(scene.things)].min() > 80 and areas[len(scene.things) :].min() > 200


def test_a_scene_looks_the_same_at_every_size() -> None:
    scene = make_scene(6)
    small, large = draw(scene, 96), draw(scene, 288)
    assert (large.index[1::3, 1::3] == small.index).mean() > 0.99
    reduced = large.pixels.reshape(96, 3, 96, 3, 3).mean((1, 3))
    assert np.abs(reduced - small.pixels).mean() < 6


def test_things_have_their_colours() -> None:
    seen = set()
    for seed in range(40):
        scene = make_scene(seed)
        drawing = draw(scene, 96)
        for number, thing in enumerate(scene.things):
            if thing.colour in NEAR:
                mean = drawing.pixels[drawing.index == number].mean(0)
                assert np.abs(mean - NEAR[thing.colour]).max() < 45, thing
                seen.add(thing.colour)
    assert seen == set(NEAR)


def test_small_things_are_in_front() -> None:
    for seed in range(100):
        radii = [thing.radius for thing in make_scene(seed).things]
        assert radii == sorted(radii, reverse=True)
