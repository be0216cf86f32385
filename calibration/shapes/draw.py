"""A composition drawn at a size: pixels, and which thing or ground every pixel shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xsam_edge.calibration.shapes.composition import Composition, Thing

_SUPERSAMPLING = 3  # odd, so that a pixel's centre is a sample
_GRAIN = 96  # cells of noise along an edge, whatever the size drawn at

_PAINT = {
    "red": (220, 40, 40),
    "orange": (245, 140, 25),
    "yellow": (250, 225, 50),
    "green": (20, 160, 65),
    "blue": (35, 65, 220),
    "purple": (145, 50, 180),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
# Muted, top and bottom of a gradient: things stand out from every ground.
_GROUND = {
    "sky": ((150, 185, 215), (205, 222, 235)),
    "grass": ((150, 172, 110), (112, 140, 84)),
    "sand": ((218, 205, 170), (190, 172, 132)),
    "water": ((120, 158, 168), (84, 122, 140)),
}

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pixels uint8 [H, W, 3], and uint8 [H, W]: the thing, or ``len(composition.things)`` + the ground."""

    pixels: Pixels
    index: Pixels


def draw(composition: Composition, size: int) -> Drawing:
    """Draw a composition as a square of ``size`` pixels; the same composition and size give the same bytes."""
    rng = np.random.default_rng([composition.seed, 0xD2A3])
    canvas, index = _grounds(composition, size, rng)
    fine = size * _SUPERSAMPLING
    layer = Image.new("L", (fine, fine), 255)
    pen = ImageDraw.Draw(layer)
    for number, thing in enumerate(composition.things):
        pen.polygon([(x * fine, y * fine) for x, y in outline(thing)], fill=number)
    samples = np.asarray(layer)
    centre = samples[_SUPERSAMPLING // 2 :: _SUPERSAMPLING, _SUPERSAMPLING // 2 :: _SUPERSAMPLING]
    index = np.where(centre < 255, centre, index)
    for number, thing in enumerate(composition.things):
        rows, columns = _window(thing, size)
        inside = samples[_scaled(rows), _scaled(columns)] == number
        height, width = rows.stop - rows.start, columns.stop - columns.start
        share = inside.reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING).mean((1, 3), dtype=np.float32)
        paint = _paint(thing, height, width, rng)
        share *= np.float32(composition.contrast)
        canvas[rows, columns] += share[..., None] * (paint - canvas[rows, columns])
    grain = rng.normal(0, 5, (_GRAIN, _GRAIN)).astype(np.float32)
    canvas += _enlarge(grain, size)[..., None]
    return Drawing(canvas.clip(0, 255).astype(np.uint8), index.astype(np.uint8))


def outline(thing: Thing) -> list[tuple[float, float]]:
    """Corners of a thing as a polygon."""
    if thing.shape == "circle":
        polar = [(0.92, 2 * math.pi * step / 48) for step in range(48)]
    elif thing.shape == "square":
        polar = [(1.06, math.pi * (step / 2 + 0.25)) for step in range(4)]
    elif thing.shape == "triangle":
        polar = [(1.1, math.pi * (2 * step / 3 - 0.5)) for step in range(3)]
    elif thing.shape == "star":
        inner = 0.3 if thing.thin else 0.5
        polar = [(1.1 if step % 2 == 0 else inner, math.pi * (step / 5 - 0.5)) for step in range(10)]
    else:
        polar = _cross(0.17 if thing.thin else 0.34)
    return [
        (thing.x + thing.radius * r * math.cos(a + thing.angle), thing.y + thing.radius * r * math.sin(a + thing.angle))
        for r, a in polar
    ]


def _cross(arm: float) -> list[tuple[float, float]]:
    length = 1.0
    quarter = [(length, -arm), (length, arm), (arm, arm)]
    corners = []
    for turn in range(4):
        for x, y in quarter:
            corners.append((math.hypot(x, y), math.atan2(y, x) + turn * math.pi / 2))
    return corners


def _grounds(composition: Composition, size: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], Pixels]:
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = centre[None, :], np.asarray(centre[:, None], np.float32)
    wave = (
        composition.horizon
        + composition.slope * (x - 0.5)
        + composition.swell * np.sin(2 * np.pi * (x + composition.phase))
    )
    lower = (y > wave) if len(composition.grounds) == 2 else np.zeros((size, size), bool)
    canvas = np.empty((size, size, 3), np.float32)
    for number, ground in enumerate(composition.grounds):
        painted = _ground(ground, y, size, rng)
        canvas = np.where(lower[..., None], painted, canvas) if number else painted
    return canvas, (len(composition.things) + lower).astype(np.uint8)


def _ground(kind: str, y: npt.NDArray[np.float32], size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One ground over the whole square: a gradient, and a texture of its own."""
    top, bottom = (np.array(colour, np.float32) for colour in _GROUND[kind])
    tone = np.float32(rng.normal(0, 8))
    fall = np.float32(rng.uniform(0.6, 1.0))
    canvas = top + (bottom - top) * fall * y[..., None] + tone
    noise = rng.normal(0, 1, (_GRAIN, _GRAIN)).astype(np.float32)
    if kind == "sky":
        texture = 6 * _enlarge(rng.normal(0, 1, (5, 3)).astype(np.float32), size)  # large clouds
    elif kind == "grass":
        texture = 11 * _enlarge(noise[:: _GRAIN // 12], size)  # blades: long in y, fine in x
    elif kind == "sand":
        texture = 13 * _enlarge(noise, size)
    else:
        waves = np.sin(2 * np.pi * (rng.uniform(7, 10) * y + rng.uniform(0, 1)))
        texture = 11 * waves + 3 * _enlarge(noise, size)
    return np.asarray(canvas + texture[..., None], np.float32) + np.zeros((size, size, 1), np.float32)


def _paint(thing: Thing, height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The thing's colour with a little jitter, shaded along a random direction."""
    colour = np.array(_PAINT[thing.colour], np.float32) + rng.normal(0, 8, 3).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * np.linspace(-1, 1, width)[None, :] + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    return np.asarray(colour + 14 * ramp[..., None], np.float32)


def _window(thing: Thing, size: int) -> tuple[slice, slice]:
    """Rows and columns of the picture that hold a thing; none of one outside of it."""
    return _span(thing.y, thing.radius, size), _span(thing.x, thing.radius, size)


def _span(centre: float, radius: float, size: int) -> slice:
    reach = 1.15 * radius
    low, high = math.floor((centre - reach) * size), math.ceil((centre + reach) * size)
    return slice(min(max(low, 0), size), min(max(high, 0), size))


def _scaled(part: slice) -> slice:
    return slice(part.start * _SUPERSAMPLING, part.stop * _SUPERSAMPLING)


def _enlarge(values: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Bilinear resize of [h, w] to [size, size]."""
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BILINEAR))
