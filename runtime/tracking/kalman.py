"""How boxes move: a Kalman filter for each, of constant velocity, for steps of any length.

A box is its centre and its size. Of the centre the velocity is estimated too, disturbed by random acceleration; the
size changes by a random walk, so that a thing that is being hidden does not go on shrinking when it is out of sight. No
coordinate is correlated with another: each has a filter of two numbers, and all of them are computed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Standard deviations, as shares of a box's own size, the mean of its sides; of the centre and of the size.
_MEASURED = np.array([0.1, 0.1, 0.2, 0.2])  # of a box that was found
_SPEED = np.array([1.0, 1.0, 0.0, 0.0])  # a second, of a velocity that is not known yet
_ACCELERATION = np.array([0.4, 0.4, 0.0, 0.0])  # a second, per root of a second: how fast a velocity changes
_DRIFT = np.array([0.0, 0.0, 0.3, 0.3])  # per root of a second


@dataclass(frozen=True, eq=False)
class Motion:
    """N boxes on their way.

    ``places`` float64 [N, 4] are centre x, y, width and height in pixels, ``velocities`` [N, 4] the same a second.
    ``variances`` [N, 4, 3] are of each place its variance, its covariance with the velocity, and the velocity's.
    """

    places: Floats
    velocities: Floats
    variances: Floats

    @classmethod
    def begin(cls, boxes: Floats) -> Motion:
        """Boxes [N, 4] (x0, y0, x1, y1) that were seen once."""
        places = _places(boxes)
        scale = _scale(places)
        place, speed = (scale * _MEASURED) ** 2, (scale * _SPEED) ** 2
        return cls(places, np.zeros_like(places), np.stack([place, np.zeros_like(place), speed], -1))

    @property
    def boxes(self) -> Floats:
        """Where they are taken to be, [N, 4] (x0, y0, x1, y1)."""
        half = self.places[:, 2:] / 2
        return np.concatenate([self.places[:, :2] - half, self.places[:, :2] + half], 1)

    def predict(self, seconds: float) -> Motion:
        """The same boxes so much later."""
        place, both, speed = np.moveaxis(self.variances, -1, 0)
        scale = _scale(self.places)
        jolt, drift = (scale * _ACCELERATION) ** 2, (scale * _DRIFT) ** 2
        later = [
            place + 2 * seconds * both + seconds**2 * speed + jolt * seconds**3 / 3 + drift * seconds,
            both + seconds * speed + jolt * seconds**2 / 2,
            speed + jolt * seconds,
        ]
        return Motion(self.places + seconds * self.velocities, self.velocities, np.stack(later, -1))

    def update(self, which: NDArray[np.intp], boxes: Floats) -> Motion:
        """Those of the indices ``which`` [K] were found as ``boxes`` [K, 4] (x0, y0, x1, y1)."""
        place, both, speed = np.moveaxis(self.variances[which], -1, 0)
        before, found = self.places[which], _places(boxes)
        noise = (_scale(before) * _MEASURED * _doubt(before, found)) ** 2
        gain, speed_gain = place / (place + noise), both / (place + noise)
        off = found - before
        places, velocities, variances = self.places.copy(), self.velocities.copy(), self.variances.copy()
        places[which] += gain * off
        velocities[which] += speed_gain * off
        variances[which] = np.stack([(1 - gain) * place, (1 - gain) * both, speed - speed_gain * both], -1)
        return Motion(places, velocities, variances)

    def take(self, which: NDArray[np.intp]) -> Motion:
        """Those of the indices ``which``."""
        return Motion(self.places[which], self.velocities[which], self.variances[which])

    def add(self, others: Motion) -> Motion:
        """These, and others behind them."""
        return Motion(
            np.concatenate([self.places, others.places]),
            np.concatenate([self.velocities, others.velocities]),
            np.concatenate([self.variances, others.variances]),
        )

    def scale(self, x: float, y: float) -> Motion:
        """The same in a picture that is so many times as wide and as high."""
        factors = np.array([x, y, x, y])
        return Motion(self.places * factors, self.velocities * factors, self.variances * factors[:, None] ** 2)


def _places(boxes: Floats) -> Floats:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def _doubt(before: Floats, found: Floats) -> Floats:
    """[N, 1], 1 to 100: by how much more a box may be wrong that has not the size that was expected.

    It is often that of a thing half hidden, whose middle is not where the middle of the box is.
    """
    sides = np.maximum(np.stack([before[:, 2:], found[:, 2:]]), 1.0)
    alike = (sides.min(0) / sides.max(0)).prod(1, keepdims=True)
    return np.asarray(np.maximum(alike, 0.1) ** -2.0)


def _scale(places: Floats) -> Floats:
    """[N, 1] pixels, 1 at least: the filter of a box without an extent would take nothing in."""
    return np.asarray(np.maximum(places[:, 2:].mean(1, keepdims=True), 1.0))
