"""Annotated segments as one map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.data.samples import Lazy
from xsam_edge.runtime.errors import InputError

VOID = -1


def paint(masks: Sequence[Lazy], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Which mask each pixel belongs to, int64 [H, W]; ``VOID`` for none, the last one where they overlap.

    Raises InputError for a mask of another size.
    """
    numbers = np.full(size, VOID, np.int64)
    for index, mask in enumerate(masks):
        shape = mask()
        if shape.shape != tuple(size):
            raise InputError(f"an annotated mask is {shape.shape}, the image {tuple(size)}")
        numbers[shape] = index
    return numbers
