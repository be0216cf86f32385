from __future__ import annotations

import itertools
import math

import pytest

from xsam_edge.calibration.shapes.composition import COLOURS, GROUNDS, SHAPES, compose
from xsam_edge.calibration.shapes.dataset import SPLITS

SEEDS = range(300)


def test_a_seed_gives_one_scene() -> None:
    assert compose(7) == compose(7)
    assert len({compose(seed).things for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS[:60])
def test_things_are_distinct_and_apart(seed: int) -> None:
    composition = compose(seed)
    assert 1 <= len(composition.things) <= 6
    assert len({thing.name for thing in composition.things}) == len(composition.things)
    for first, second in itertools.combinations(composition.things, 2):
        assert math.hypot(first.x - second.x, first.y - second.y) > 0.6 * (first.radius + second.radius)
    radii = {size: [t.radius for t in composition.things if t.size == size] for size in ("small", "large")}
    assert max(radii["small"], default=0) < 0.14 < 0.17 < min(radii["large"], default=1)


def test_everything_occurs() -> None:
    compositions = [compose(seed) for seed in SEEDS]
    things = [thing for composition in compositions for thing in composition.things]
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {ground for composition in compositions for ground in composition.grounds} == set(GROUNDS)
    assert {len(composition.things) for composition in compositions} >= {2, 3, 4, 5, 6}
    assert {len(composition.grounds) for composition in compositions} == {1, 2}


def test_the_sky_is_above() -> None:
    compositions = [compose(seed) for seed in SEEDS]
    assert all(composition.grounds.index("sky") == 0 for composition in compositions if "sky" in composition.grounds)


def test_splits_share_no_seed() -> None:
    for first, second in itertools.combinations(SPLITS.values(), 2):
        assert first[-1] < second[0] or second[-1] < first[0]
