"""A drawn scene as a description: which shapes lie where on which grounds. A seed gives a composition, always the same.

Coordinates are fractions of the picture's edge, x to the right and y down, so that it can be drawn at any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
GROUNDS = ("sky", "grass", "sand", "water")
ThingSize = Literal["small", "large"]

_COUNTS = (2, 3, 4, 5, 6)


@dataclass(frozen=True)
class _Style:
    """What scenes are like.

    ``radii`` are those of the circle around a shape; the gap between small and large leaves no doubt which is which.
    ``distance`` is the least one of two things, of the sum of their radii: shapes may overlap, but none is hidden by
    another. ``counts`` are the chances of ``_COUNTS``.
    """

    stream: tuple[int, ...]  # of random numbers, beside the seed
    radii: Mapping[ThingSize, tuple[float, float]]
    distance: float
    counts: tuple[float, ...]
    thin: bool = False
    contrast: tuple[float, float] = (1.0, 1.0)


_PLAIN = _Style((0x5CE7E,), {"small": (0.095, 0.125), "large": (0.175, 0.235)}, 0.66, (0.12, 0.25, 0.28, 0.22, 0.13))
_HARD = _Style(
    (0x5CE7E, 1),
    {"small": (0.06, 0.085), "large": (0.125, 0.18)},
    0.5,
    (0.0, 0.0, 0.2, 0.4, 0.4),
    thin=True,
    contrast=(0.6, 0.9),
)


@dataclass(frozen=True)
class Thing:
    """One shape. ``radius`` is that of the circle around it, ``angle`` its rotation in radians.

    ``thin`` ones have narrow arms, where they have arms.
    """

    shape: str
    colour: str
    size: ThingSize
    x: float
    y: float
    radius: float
    angle: float
    thin: bool = False

    @property
    def name(self) -> str:
        """Colour and shape; no other thing of the composition has the same."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Composition:
    """Things, in the order in which they are painted, before one or two grounds.

    ``grounds`` are top and bottom where there are two; they meet at the wave
    ``y = horizon + slope * (x - 0.5) + swell * sin(2 pi (x + phase))``. ``contrast`` is how much of a thing's colour
    covers what is behind it.
    """

    seed: int
    things: tuple[Thing, ...]
    grounds: tuple[str, ...]
    horizon: float
    slope: float
    swell: float
    phase: float
    contrast: float = 1.0


def compose(seed: int, *, hard: bool = False) -> Composition:
    """The composition of a seed (0 or more); ``hard`` ones have small, thin, overlapping, pale things, and many."""
    style = _HARD if hard else _PLAIN
    rng = np.random.default_rng([seed, *style.stream])
    wanted = int(rng.choice(_COUNTS, p=style.counts))
    # Few kinds and few colours in one composition, so that telling things apart takes more than one attribute.
    shapes = rng.permutation(SHAPES)[: int(rng.choice([2, 3, 5], p=[0.3, 0.35, 0.35]))]
    colours = rng.permutation(COLOURS)[: int(rng.choice([3, 4, 8], p=[0.25, 0.25, 0.5]))]
    placed: list[Thing] = []
    used: set[tuple[str, str]] = set()
    for _ in range(60 * wanted):
        if len(placed) == wanted:
            break
        shape, colour = str(rng.choice(shapes)), str(rng.choice(colours))
        size: ThingSize = "large" if rng.random() < (0.5 if wanted < 5 else 0.35) else "small"
        radius = rng.uniform(*style.radii[size])
        x, y = rng.uniform(0.9 * radius, 1 - 0.9 * radius, 2)
        if (shape, colour) in used or any(
            math.hypot(x - other.x, y - other.y) < style.distance * (radius + other.radius) for other in placed
        ):
            continue
        used.add((shape, colour))
        angle = float(rng.uniform(-0.25, 0.25))
        thin = style.thin and rng.random() < 0.5
        placed.append(Thing(shape, colour, size, float(x), float(y), float(radius), angle, thin))
    # Small ones are painted last, in front.
    placed.sort(key=lambda thing: -thing.radius)
    grounds = [str(ground) for ground in rng.permutation(GROUNDS)[: 1 + int(rng.random() < 0.65)]]
    if "sky" in grounds:  # above whatever else there is
        grounds.sort(key=lambda ground: ground != "sky")
    horizon, slope, swell, phase = rng.uniform((0.3, -0.25, 0.0, 0.0), (0.7, 0.25, 0.04, 1.0))
    contrast = float(rng.uniform(*style.contrast)) if hard else 1.0
    return Composition(
        seed, tuple(placed), tuple(grounds), float(horizon), float(slope), float(swell), float(phase), contrast
    )
