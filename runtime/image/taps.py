"""Pillow's antialiased resizing as numbers: which pixels make an output pixel, and how much each of them counts.

Pillow resizes 8-bit images by two passes, columns first, rows second. Each is a sum of pixels times whole numbers of
22 bits, rounded to 8 bits (``libImaging/Resample.c``). A device that is given these numbers resizes as the host does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import floor

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput
from xsam_edge.runtime.image.preprocess import scaled_size

Doubles = npt.NDArray[np.float64]

PRECISION_BITS = 22
"""Of a weight: 2**22 is one."""

LONGEST_EDGE = 4096
"""Of pictures that are resized on a device; others are on the host."""

MOST_TAPS = 1024
"""Of an output pixel. More are as good as never needed, and their sums would not be exact in float32."""

# A scaled size is rounded to whole pixels, so that its scale is up to this much more than the longest edge's.
_ROUNDED = 1.5


@dataclass(frozen=True)
class Filter:
    """A resampling filter of Pillow: ``support`` in pixels to both sides, and the weight at a distance."""

    support: float
    weight: Callable[[Doubles], Doubles]


def _bilinear(x: Doubles) -> Doubles:
    weight: Doubles = np.maximum(1 - np.abs(x), 0)
    return weight


def _bicubic(x: Doubles) -> Doubles:
    x, a = np.abs(x), -0.5
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


FILTERS: Mapping[int, Filter] = {
    Image.Resampling.BILINEAR: Filter(1, _bilinear),
    Image.Resampling.BICUBIC: Filter(2, _bicubic),
}
"""Those of the official processors."""


@dataclass(frozen=True, eq=False)
class Taps:
    """One axis: output i is the sum over t of weights[i, t] * input[indices[i, t]], over 2**22, rounded to a byte.

    ``indices`` is int64 and ``weights`` float32 of whole numbers, [outputs, 1 + taps]. The first weight is not of an
    input but of the padding around the picture; an output without any weight is none.
    """

    indices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    @property
    def count(self) -> int:
        """Taps, the padding's included."""
        return int(self.weights.shape[1])

    def framed(self, outputs: int, count: int) -> Taps:
        """With ``outputs`` outputs and ``count`` taps; new ones have no weight."""
        places = (0, outputs - len(self.weights)), (0, count - self.count)
        return Taps(np.pad(self.indices, places), np.pad(self.weights, places))


@lru_cache(64)  # a camera's size stays
def taps(size_in: int, size_out: int, resample: int, before: int = 0, size: int | None = None) -> Taps:
    """The taps of one axis, as ``Image.resize`` computes them.

    Args:
        size_in: pixels of the axis, padding included.
        size_out: outputs.
        resample: one of ``FILTERS``.
        before: how many pixels of padding come first.
        size: of the picture, which ``indices`` are of; None where there is no padding.
    """
    chosen, scale = FILTERS[resample], size_in / size_out
    size = size_in if size is None else size
    stretch = max(scale, 1.0)
    support = chosen.support * stretch
    centres = (np.arange(size_out) + 0.5) * scale
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    stops = np.minimum((centres + support + 0.5).astype(np.int64), size_in)
    inputs = starts[:, None] + np.arange((stops - starts).max())
    weights = chosen.weight((inputs - centres[:, None] + 0.5) * (1 / stretch))
    weights[inputs >= stops[:, None]] = 0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as a loop sums: sum() would round otherwise
    whole = np.trunc(weights * 2**PRECISION_BITS + np.copysign(0.5, weights))
    indices = inputs - before
    inside = (indices >= 0) & (indices < size)
    padding = np.where(inside, 0, whole).sum(1)
    return Taps(
        np.column_stack([np.zeros(size_out, np.int64), np.clip(indices, 0, size - 1)]),
        np.column_stack([padding, np.where(inside, whole, 0)]).astype(np.float32),
    )


def vision_taps(size: tuple[int, int], vision: VisionInput) -> tuple[Taps, Taps]:
    """Rows and columns of an image of ``size`` (h, w) for the vision encoder: see ``preprocess.vision_pixels``."""
    sides = (max(size),) * 2 if vision.pad_to_square else size
    rows, columns = (
        taps(side, out, vision.resample, (side - edge) // 2, edge)
        for side, out, edge in zip(sides, (vision.height, vision.width), size, strict=True)
    )
    return rows, columns


def mask_taps(size: tuple[int, int], mask: MaskInput) -> tuple[Taps, Taps]:
    """Rows and columns of an image of ``size`` (h, w) for the mask encoder: see ``preprocess.mask_pixels``.

    Without those that pad the scaled image.
    """
    height, width = scaled_size(size, mask)
    return taps(size[0], height, mask.resample), taps(size[1], width, mask.resample)


def most_taps(rule: VisionInput | MaskInput) -> int:
    """Taps that pictures of ``LONGEST_EDGE`` need, the padding's included, but ``MOST_TAPS`` at most."""
    if isinstance(rule, VisionInput):
        scale = LONGEST_EDGE / min(rule.height, rule.width)
    else:
        scale = _ROUNDED * LONGEST_EDGE / rule.longest_edge
    return min(floor(2 * FILTERS[rule.resample].support * max(1.0, scale)) + 2, MOST_TAPS)
