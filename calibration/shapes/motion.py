"""Drawn scenes that move: things that enter, cross, hide each other and leave, made from a seed, with identities.

A moving scene has the shapes, colours and grounds of the still ones and is drawn by the same renderer. Which thing is
in front does not change, and a large one may be: others pass behind it, some of them hidden whole for up to some ten
frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xsam_edge.calibration.shapes.composition import COLOURS, SHAPES, Composition, Thing, ThingSize, compose
from xsam_edge.calibration.shapes.draw import Drawing, draw, outline
from xsam_edge.runtime.errors import InputError

LENGTH = 100
"""Frames of a scene, unless another number is wanted."""

RATE = 10.0
"""Frames a second."""

TEST_SEEDS = range(20)
"""Those that results are reported of; nothing is tuned on them."""

TUNING_SEEDS = range(1000, 1010)
"""Those that thresholds are chosen on."""

MIN_VISIBLE = 0.25
"""The share of a thing that must be seen for it to count as there."""

_STREAM = (0x5CE7E, 2)  # of random numbers, beside the seed
_RADII = {"small": (0.095, 0.125), "large": (0.175, 0.235)}
_CROWD = (3, 6)  # things whose centre is in the picture, in any frame
_HIDDEN = (4, 12)  # frames: the longest time that a thing is hidden or outside before it is seen again
_COARSE = 64  # pixels along an edge, to find that out
_TRIES = 1000


@dataclass(frozen=True)
class Mover:
    """A thing on its way: straight on, swaying to both sides of its line.

    ``thing`` lies where it is in frame 0 without swaying. ``velocity`` is in edges of the picture a frame, ``sway`` in
    edges, ``period`` in frames, ``phase`` in turns.
    """

    thing: Thing
    velocity: tuple[float, float]
    sway: float
    period: float
    phase: float

    def at(self, frame: int) -> Thing:
        """The thing in a frame; it may lie outside of the picture."""
        vx, vy = self.velocity
        speed = math.hypot(vx, vy)
        aside = self.sway * math.sin(2 * math.pi * (frame / self.period + self.phase))
        x = self.thing.x + vx * frame - aside * vy / speed
        y = self.thing.y + vy * frame + aside * vx / speed
        return replace(self.thing, x=x, y=y)


@dataclass(frozen=True, eq=False)
class SeenThing:
    """A thing in a frame: its identity from 1 on, its place in ``SHAPES``, and bool [H, W], the pixels that show it.

    ``visible`` is the share of the whole thing that these are, 0..1: what is hidden or outside of the picture is not.
    """

    identity: int
    label: int
    mask: npt.NDArray[np.bool_]
    visible: float

    @property
    def counts(self) -> bool:
        """Whether so much of it is seen that it is there; what shows less is to be ignored, found or not."""
        return self.visible >= MIN_VISIBLE


@dataclass(frozen=True)
class MovingScene:
    """``length`` frames of movers, in the order in which they are painted, on the grounds of ``still``."""

    seed: int
    movers: tuple[Mover, ...]
    still: Composition
    length: int

    def composition(self, frame: int) -> Composition:
        """One frame. All movers are in it, those outside of the picture too, so that none changes its shading."""
        return replace(self.still, things=tuple(mover.at(frame) for mover in self.movers))

    def frames(self, size: int) -> Iterator[tuple[Drawing, tuple[SeenThing, ...]]]:
        """Each frame as a square of ``size`` pixels, with the things of which a pixel is seen."""
        whole = [_area(mover.thing, size) for mover in self.movers]
        for frame in range(self.length):
            drawing = draw(self.composition(frame), size)
            yield drawing, tuple(self._seen(drawing, whole))

    def _seen(self, drawing: Drawing, whole: list[int]) -> Iterator[SeenThing]:
        for number, mover in enumerate(self.movers):
            mask = drawing.index == number
            if count := int(np.count_nonzero(mask)):
                share = min(1.0, count / whole[number])
                yield SeenThing(number + 1, SHAPES.index(mover.thing.shape), np.asarray(mask), share)


def move(seed: int, length: int = LENGTH) -> MovingScene:
    """The moving scene of a seed (0 or more).

    Three to six things are in the picture at any time. One at least is hidden and comes back, none after more than a
    dozen frames.

    Raises InputError for a length below 2.
    """
    if length < 2:
        raise InputError(f"a moving scene of {length} frames; give 2 or more")
    rng = np.random.default_rng([seed, *_STREAM])
    for _ in range(_TRIES):
        movers = _movers(rng, length)
        inside = [sum(_is_inside(mover.at(frame)) for mover in movers) for frame in range(length)]
        crowded = _CROWD[0] <= min(inside) and max(inside) <= _CROWD[1]
        if crowded and _HIDDEN[0] <= _longest_gap(movers, length) <= _HIDDEN[1]:
            return MovingScene(seed, movers, replace(compose(seed), things=()), length)
    raise InputError(f"seed {seed} gives no moving scene of {length} frames; take another one")


def _movers(rng: np.random.Generator, length: int) -> tuple[Mover, ...]:
    shapes = rng.permutation(SHAPES)[: int(rng.choice([2, 3]))]  # few kinds: many of a label, which may be confused
    names = [(str(shape), str(colour)) for shape in shapes for colour in COLOURS]
    wanted = int(rng.integers(5, 9)) + max(0, length - LENGTH) // 25
    chosen = [names[index] for index in rng.choice(len(names), min(wanted, len(names)), replace=False)]
    # The first passes behind the second, through its centre.
    meeting = rng.uniform(0.25, 0.75) * length
    at = rng.uniform(0.35, 0.65, 2)
    pair = [_mover(rng, chosen[0], "small", at, meeting), _mover(rng, chosen[1], "large", at, meeting, slow=True)]
    times = np.linspace(-0.1, 1.1, len(chosen) - 2) * length
    others = []
    for name, time in zip(chosen[2:], times, strict=True):
        size: ThingSize = "large" if rng.random() < 0.25 else "small"
        others.append(_mover(rng, name, size, rng.uniform(0.25, 0.75, 2), time + rng.uniform(-10, 10)))
    order = [*rng.permutation(len(others))]
    behind, before = sorted(rng.integers(0, len(order) + 1, 2))
    painted = [others[index] for index in order]
    return (*painted[:behind], pair[0], *painted[behind:before], pair[1], *painted[before:])


def _mover(
    rng: np.random.Generator,
    name: tuple[str, str],
    size: ThingSize,
    at: npt.NDArray[np.float64],
    time: float,
    slow: bool = False,
) -> Mover:
    """One that comes through ``at`` about frame ``time``."""
    speed = rng.uniform(0.002, 0.005) if slow else rng.uniform(0.008, 0.02)
    heading = rng.uniform(0, 2 * math.pi)
    velocity = (float(speed * math.cos(heading)), float(speed * math.sin(heading)))
    x, y = float(at[0] - velocity[0] * time), float(at[1] - velocity[1] * time)
    radius, angle = float(rng.uniform(*_RADII[size])), float(rng.uniform(-0.25, 0.25))
    thing = Thing(*name, size, x, y, radius, angle)
    return Mover(thing, velocity, float(rng.uniform(0, 0.04)), float(rng.uniform(40, 90)), float(rng.random()))


def _is_inside(thing: Thing) -> bool:
    return 0 < thing.x < 1 and 0 < thing.y < 1


def _longest_gap(movers: tuple[Mover, ...], length: int) -> int:
    """The longest time, in frames, that a thing is not there between two frames in which it is."""
    whole = [_area(mover.thing, _COARSE) for mover in movers]
    seen: list[list[int]] = [[] for _ in movers]
    for frame in range(length):
        counts = np.bincount(_painted([mover.at(frame) for mover in movers], _COARSE).ravel(), minlength=256)
        for number, frames in enumerate(seen):
            if counts[number] >= MIN_VISIBLE * whole[number]:
                frames.append(frame)
    return max((after - before - 1 for frames in seen for before, after in pairwise(frames)), default=0)


def _area(thing: Thing, size: int) -> int:
    """Pixels of a whole thing."""
    return int(np.count_nonzero(_painted([replace(thing, x=0.5, y=0.5)], size) == 0))


def _painted(things: list[Thing], size: int) -> npt.NDArray[np.uint8]:
    """Which of the things each pixel of a square shows, 255 where it is none."""
    layer = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(layer)
    for number, thing in enumerate(things):
        pen.polygon([(x * size, y * size) for x, y in outline(thing)], fill=number)
    return np.asarray(layer)
