"""Codes of weights, integers or 8-bit floats: scales in a first reading, codes in a second, both in blocks of rows.

Symmetric throughout. 8-bit floats are E4M3 (Micikevicius et al., arXiv 2209.05433), whose largest is 448. A scale is
stored in the type of the products around it, and codes are computed from the stored value, so that its rounding costs
nothing but range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ml_dtypes import float8_e4m3fn

from xsam_edge.export.precision.plan import Quantized

Float = npt.NDArray[np.float32]
Scale = npt.NDArray[np.floating]
Codes = npt.NDArray[np.int8] | npt.NDArray[float8_e4m3fn]
Rows = Iterable[tuple[int, Float]]
"""Rows of a stored weight along its first axis, each block with the index of its first row."""

LIMITS: dict[Quantized, int] = {"int8": 127, "int4": 7, "fp8": 448}
_LOWEST: dict[Quantized, int] = {"int8": -127, "int4": -8, "fp8": -448}
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


@dataclass(frozen=True, eq=False)
class WeightQuantization:
    """How a stored weight becomes codes.

    Per output channel, ``scale`` is [outputs] and ``axis`` that of the outputs. In blocks of inputs (``block`` > 0)
    ``scale`` is [inputs / block, outputs] and ``axis`` 0.
    """

    precision: Quantized
    axis: int
    scale: Scale
    block: int = 0

    def codes(self, rows: Float, start: int) -> Codes:
        """Codes of the rows from ``start`` on, int8 or float8; where the scale is blocked, rows are whole blocks."""
        scale = self.scale.astype(np.float32)
        stop = start + len(rows)
        if self.block:
            scale = np.repeat(scale[start // self.block : stop // self.block], self.block, axis=0)
        elif self.axis == 0:
            scale = scale[start:stop].reshape(-1, *[1] * (rows.ndim - 1))
        steps: Float = rows / scale
        if self.precision != "fp8":
            steps = np.rint(steps)
        codes = np.clip(steps, _LOWEST[self.precision], LIMITS[self.precision])
        return codes.astype(float8_e4m3fn if self.precision == "fp8" else np.int8)


def channel_scales(
    rows: Rows, shape: tuple[int, ...], axis: int, dtype: npt.DTypeLike, precision: Quantized = "int8"
) -> Scale:
    """Scales of int8 or fp8, one for each output channel, which lies on ``axis`` 0 or 1."""
    amax = np.zeros(shape[axis], np.float32)
    for start, values in rows:
        magnitude = np.abs(values)
        if axis == 0:
            amax[start : start + len(values)] = magnitude.reshape(len(values), -1).max(axis=1)
        else:
            np.maximum(amax, magnitude.max(axis=0), out=amax)
    return stored(amax / LIMITS[precision], dtype)


def block_scales(rows: Rows, shape: tuple[int, ...], block: int, dtype: npt.DTypeLike) -> Scale:
    """Scales of symmetric int4 [inputs / block, outputs] of a weight [inputs, outputs].

    Of several shares of the largest magnitude the one with the least squared error is taken.
    """
    scales = np.empty((shape[0] // block, shape[1]), np.dtype(dtype))
    for start, values in rows:
        grouped = values.reshape(-1, block, shape[1])
        scales[start // block : start // block + len(grouped)] = _best(grouped, dtype)
    return scales


def _best(grouped: Float, dtype: npt.DTypeLike) -> Scale:
    amax = np.abs(grouped).max(axis=1)
    chosen = stored(amax / LIMITS["int4"], dtype)
    best = np.full(amax.shape, np.inf, np.float32)
    for share in _SHARES:
        scale = stored(share * amax / LIMITS["int4"], dtype)
        wide = scale.astype(np.float32)[:, None]
        codes = np.clip(np.rint(grouped / wide), _LOWEST["int4"], LIMITS["int4"])
        error = np.square(codes * wide - grouped).sum(axis=1)
        chosen = np.where(error < best, scale, chosen)
        best = np.minimum(best, error)
    return chosen


def stored(scale: Scale, dtype: npt.DTypeLike) -> Scale:
    """Scales as they are stored: rounded up, so that the largest magnitude is not clipped; 1 where all is zero.

    Raises:
        ValueError: a scale is not finite in ``dtype``.
    """
    dtype = np.dtype(dtype)
    with np.errstate(over="ignore"):
        result = np.asarray(scale.astype(dtype))
    below = result.astype(np.float64) < scale
    result[below] = np.nextafter(result[below], np.array(np.inf, dtype))
    result[result == 0] = 1
    if not np.isfinite(result).all():
        raise ValueError(f"a scale of {np.max(scale):.3g} is outside of {dtype}'s range")
    return result


def pack_int4(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Two codes in a byte, the first in the lower half, in the order of the elements (ONNX INT4); an even number."""
    flat: npt.NDArray[np.uint8] = codes.reshape(-1).view(np.uint8) & np.uint8(0xF)
    high: npt.NDArray[np.uint8] = flat[1::2] << np.uint8(4)
    return flat[::2] | high
