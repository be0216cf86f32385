from functools import cache

import numpy as np
import pytest

from xsam_edge.calibration.shapes.composition import SHAPES
from xsam_edge.calibration.shapes.draw import Drawing, draw
from xsam_edge.calibration.shapes.motion import MIN_VISIBLE, TEST_SEEDS, TUNING_SEEDS, SeenThing, move
from xsam_edge.runtime.errors import InputError

SIZE = 64
SEEDS = (0, 1, 1000)


@cache
def drawn(seed: int) -> list[tuple[Drawing, tuple[SeenThing, ...]]]:
    return list(move(seed).frames(SIZE))


def test_a_seed_gives_the_same_scene() -> None:
    assert vars(move(3)) == vars(scene := move(3))
    assert scene.movers != move(4).movers
    first = next(move(0).frames(SIZE))[0]
    np.testing.assert_array_equal(first.pixels, drawn(0)[0][0].pixels)
    assert not set(TEST_SEEDS) & set(TUNING_SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_to_six_things_are_there(seed: int) -> None:
    scene = move(seed)
    for frame in range(scene.length):
        inside = [0 < thing.x < 1 and 0 < thing.y < 1 for thing in scene.composition(frame).things]
        assert 3 <= sum(inside) <= 6
    names = [mover.thing.name for mover in scene.movers]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("seed", SEEDS)
def test_some_hide_and_come_back_some_enter_or_leave(seed: int) -> None:
    there: dict[int, list[int]] = {}
    for frame, (_, seen) in enumerate(drawn(seed)):
        for thing in seen:
            if thing.counts:
                there.setdefault(thing.identity, []).append(frame)
    gaps = [int(np.diff(frames).max(initial=1)) - 1 for frames in there.values()]
    assert 3 <= max(gaps) <= 14, "what was found out at fewer pixels may be some frames off"
    assert any(frames[0] > 0 for frames in there.values())
    assert any(frames[-1] < 99 for frames in there.values())


def test_masks_are_the_visible_pixels() -> None:
    movers = move(1).movers
    for drawing, seen in drawn(1)[::20]:
        masks = np.stack([thing.mask for thing in seen])
        assert masks.sum(0).max() == 1, "things do not share a pixel"
        for thing in seen:
            np.testing.assert_array_equal(thing.mask, drawing.index == thing.identity - 1)
            assert 0 < thing.visible <= 1
            assert thing.counts == (thing.visible >= MIN_VISIBLE)
            assert movers[thing.identity - 1].thing.shape == SHAPES[thing.label]


def test_what_is_seen_whole_and_what_is_cut() -> None:
    shares = [thing.visible for _, seen in drawn(0) for thing in seen]
    assert max(shares) > 0.95
    assert min(shares) < 0.25


def test_things_keep_their_colour() -> None:
    # The colour in the middle of one that is seen whole, over frames in which others come and go.
    colours: dict[int, list[np.ndarray]] = {}
    for drawing, seen in drawn(0):
        for thing in seen:
            if thing.visible > 0.97:
                rows, columns = np.nonzero(thing.mask)
                place = int(rows.mean()), int(columns.mean())
                if thing.mask[place]:
                    colours.setdefault(thing.identity, []).append(drawing.pixels[place].astype(float))
    assert len(colours) > 2
    for values in colours.values():
        assert np.std(values, axis=0).max() < 14, "the grain and the shading of one colour, not another colour"


def test_a_frame_is_drawn_as_a_still_scene_is() -> None:
    scene = move(1)
    drawing = draw(scene.composition(7), SIZE)
    np.testing.assert_array_equal(drawing.pixels, drawn(1)[7][0].pixels)


@pytest.mark.parametrize("length", [2, 30, 160])
def test_other_lengths(length: int) -> None:
    if length == 2:
        with pytest.raises(InputError, match="gives no moving scene of 2 frames"):
            move(0, length)
        return
    assert move(0, length).length == length


def test_a_single_frame_is_no_moving_scene() -> None:
    with pytest.raises(InputError, match="1 frames; give"):
        move(0, 1)
