"""Pieces that every family of post-processing shares.

Inputs everywhere: ``class_logits`` float32 [Q, C + 1], the last class being background; ``mask_logits`` float32
[Q, h, w] on the mask grid, of which only the queries that class logits leave in question are read; a ``Frame`` that
says how the grid lies on the image. Masks come out at the image's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.image.resize import Frame, Resizer, image_resizer

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# A mask scores at most its class score, up to the rounding of a float32 mean; this much slack makes the bound safe.
SCORE_SLACK = 1e-5


@dataclass(frozen=True, eq=False)
class QueryMask:
    """One mask of one query: bool [H, W], with the class it was chosen for and its score in 0..1."""

    query: int
    label_id: int
    score: float
    mask: Mask


def class_scores(class_logits: Floats) -> Floats:
    """Softmax over all classes, background dropped: float32 [Q, C + 1] -> [Q, C].

    Raises BackendError where a logit is not finite: the graph overflowed, and any answer would be an invention.
    """
    if not np.isfinite(class_logits).all():
        raise BackendError(
            "the mask decoder returned class logits that are not finite: its precision is too low for "
            "these weights; export the bundle again in a wider precision"
        )
    exponents = np.exp(class_logits - class_logits.max(-1, keepdims=True))
    scores: Floats = (exponents / exponents.sum(-1, keepdims=True))[:, :-1]
    return scores


def sigmoid(logits: Floats) -> Floats:
    """Logistic function, float32, any shape."""
    with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
        values: Floats = np.exp(-logits)
    values += 1
    return np.reciprocal(values, out=values)


def logit(probability: float) -> float:
    """The logit whose sigmoid is ``probability`` (0..1, the ends give infinities)."""
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def require_fraction(**values: float) -> None:
    """Raise InputError for an option outside 0..1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}; expected a number from 0 to 1")


def resizer_for(mask_logits: Masks, frame: Frame) -> Resizer:
    """The resize from the grid of float32 [Q, h, w] to the image of ``frame``."""
    return image_resizer((mask_logits.shape[1], mask_logits.shape[2]), frame)


def query_mask(mask_logits: Floats, resizer: Resizer, threshold: float = 0.5) -> Mask:
    """Where one query's probability exceeds ``threshold``: float32 [h, w] -> bool [H, W]."""
    return measured_mask(mask_logits, resizer, threshold, measure=False)[0]


def measured_mask(
    mask_logits: Floats, resizer: Resizer, threshold: float = 0.5, measure: bool = True
) -> tuple[Mask, float]:
    """``query_mask`` and the mean probability inside it (0 for an empty mask, or without ``measure``).

    The mean is the official one, total / (area + 1e-6). Only the window around cells above the threshold is
    computed: interpolation never exceeds the values that it is made from.
    """
    level = logit(threshold)
    mask = np.zeros(resizer.size_out, bool)
    total, area = 0.0, 0
    # The weights of a pixel add to 1 but for rounding, which matters to a level other than 0.
    window = resizer.reach(
        mask_logits > level - 1e-5 * (1 + abs(level)) if np.isfinite(level) else mask_logits >= level
    )
    if window is not None:
        for band, (values,) in resizer.bands(mask_logits[None], window):
            inside = values > level
            mask[band.slices] = inside
            if measure:
                chosen = values[inside]
                total += float(sigmoid(chosen).sum(dtype=np.float64))
                area += len(chosen)
    return mask, total / (area + 1e-6)
