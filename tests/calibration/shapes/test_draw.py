from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xsam_edge.calibration.shapes.composition import Thing, compose
from xsam_edge.calibration.shapes.draw import draw

NEAR = {"red": (220, 40, 40), "green": (20, 160, 65), "blue": (35, 65, 220), "white": (245, 245, 245)}


@pytest.mark.parametrize("size", [48, 96, 200])
def test_a_drawing_is_repeatable(size: int) -> None:
    first, second = draw(compose(3), size), draw(compose(3), size)
    assert first.pixels.shape == (size, size, 3) and first.pixels.dtype == np.uint8
    assert first.index.shape == (size, size) and first.index.dtype == np.uint8
    assert (first.pixels == second.pixels).all() and (first.index == second.index).all()


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_hidden(seed: int) -> None:
    composition = compose(seed)
    index = draw(composition, 96).index
    areas = np.bincount(index.ravel(), minlength=len(composition.things) + len(composition.grounds))
    assert len(areas) == len(composition.things) + len(composition.grounds)
    assert areas[: len(composition.things)].min() > 80 and areas[len(composition.things) :].min() > 200


def test_a_scene_looks_the_same_at_every_size() -> None:
    composition = compose(6)
    small, large = draw(composition, 96), draw(composition, 288)
    assert (large.index[1::3, 1::3] == small.index).mean() > 0.99
    reduced = large.pixels.reshape(96, 3, 96, 3, 3).mean((1, 3))
    assert np.abs(reduced - small.pixels).mean() < 6


def test_things_have_their_colours() -> None:
    seen = set()
    for seed in range(40):
        composition = compose(seed)
        drawing = draw(composition, 96)
        for number, thing in enumerate(composition.things):
            if thing.colour in NEAR:
                mean = drawing.pixels[drawing.index == number].mean(0)
                assert np.abs(mean - NEAR[thing.colour]).max() < 45, thing
                seen.add(thing.colour)
    assert seen == set(NEAR)


def test_small_things_are_in_front() -> None:
    for seed in range(100):
        radii = [thing.radius for thing in compose(seed).things]
        assert radii == sorted(radii, reverse=True)


def test_pale_things_let_their_ground_through_and_thin_ones_cover_less() -> None:
    scene = compose(3)
    pale = replace(scene, contrast=0.4)
    whole, faint = draw(scene, 96), draw(pale, 96)
    assert (whole.index == faint.index).all()
    inside = whole.index < len(scene.things)
    bare = draw(replace(scene, contrast=0.0), 96).pixels.astype(float)
    # Where one thing covers another, what shows through is the other one.
    alone = inside & (np.abs(bare - faint.pixels).sum(-1) > 0)
    distance = [np.abs(picture.pixels - bare)[alone].mean() for picture in (faint, whole)]
    assert 0.3 * distance[1] < distance[0] < 0.6 * distance[1]
    for shape in ("star", "cross"):
        thing = Thing(shape, "red", "large", 0.5, 0.5, 0.2, 0.1)
        areas = []
        for item in (thing, replace(thing, thin=True)):
            areas.append((draw(replace(scene, things=(item,)), 192).index == 0).sum())
        assert areas[1] < 0.75 * areas[0]
