from __future__ import annotations

import itertools
import math

import pytest

from xsam_edge.calibration.shapes.dataset import SPLITS
from xsam_edge.calibration.shapes.scene import COLOURS, GROUNDS, SHAPES, make_scene

SEEDS = range(300)


def test_a_seed_gives_one_scene() -> None:
    assert make_scene(7) == make_scene(7)
    assert len({make_scene(seed).things for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS[:60])
def test_things_are_distinct_and_apart(seed: int) -> None:
    scene = make_scene(seed)
    assert 1 <= len(scene.things) <= 6
    assert len({thing.name for thing in scene.things}) == len(scene.things)
    for first, second in itertools.combinations(scene.things, 2):
        assert math.hypot(first.x - second.x, first.y - second.y) > 0.6 * (first.radius + second.radius)
    radii = {size: [t.radius for t in scene.things if t.size == size] for size in ("small", "large")}
    assert max(radii["small"], default=0) < 0.14 < 0.17 < min(radii["large"], default=1)


def test_everything_occurs() -> None:
    scenes = [make_scene(seed) for seed in SEEDS]
    things = [thing for scene in scenes for thing in scene.things]
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {ground for scene in scenes for ground in scene.grounds} == set(GROUNDS)
    assert {len(scene.things) for scene in scenes} >= {2, 3, 4, 5, 6}
    assert {len(scene.grounds) for scene in scenes} == {1, 2}


def test_the_sky_is_above() -> None:
    scenes = [make_scene(seed) for seed in SEEDS]
    assert all(scene.grounds.index("sky") == 0 for scene in scenes if "sky" in scene.grounds)


def test_splits_share_no_seed() -> None:
    for first, second in itertools.combinations(SPLITS.values(), 2):
        assert first[-1] < second[0] or second[-1] < first[0]
