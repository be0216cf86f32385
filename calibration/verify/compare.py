"""Comparing one value of ours with one that was recorded, and the bounds that it must keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.results.iou import mask_iou

ValueKind = Literal["pixels", "floats", "ids", "text", "masks", "maps"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Bounds:
    """What a bundle of one precision must keep; None reports a value without judging it.

    ``pixels`` and ``floats`` are absolute differences; where recorded values are large, a difference of ``relative``
    times the largest is within the rounding of float32 and kept too. ``iou`` is that of every mask. A map, where
    segments compete for pixels, must keep ``iou`` for each of its segments, or where ``agreement`` is given that part
    of all pixels. Whatever the IoU, so many pixels may differ: the first number of ``undecided``, or the second times
    the image's pixels. Their logit, or their lead over the next segment, lies in the rounding error of its threshold;
    that logits themselves agree is judged apart.
    ``tokens`` says whether generated ids and text must be equal, ``variants`` whether every recorded option of
    post-processing is judged or a task's own only. A score that lies within ``threshold`` of the threshold it is
    compared with may fall on either side.
    """

    pixels: float
    floats: float | None
    relative: float
    iou: float
    undecided: tuple[int, float]
    agreement: float | None
    tokens: bool
    variants: bool
    threshold: float


BOUNDS: Mapping[str, Bounds] = {
    "fp32": Bounds(
        pixels=1e-3,
        floats=1e-4,
        relative=1e-5,
        iou=0.9999,
        undecided=(4, 1e-4),
        agreement=None,
        tokens=True,
        variants=True,
        threshold=1e-4,
    ),
    "fp16": Bounds(
        pixels=1e-3,
        floats=None,
        relative=0.0,
        iou=0.99,
        undecided=(1, 0.0),
        agreement=0.99,
        tokens=False,
        variants=False,
        threshold=1e-2,
    ),
}


def bounds_of(precision: str) -> Bounds:
    """The bounds of a bundle's precision; those of FP16 for every lower one."""
    return BOUNDS.get(precision, BOUNDS["fp16"])


@dataclass(frozen=True)
class Comparison:
    """One recorded key and how far ours is from it.

    ``values`` counts the numbers compared. ``max_abs`` is there for numbers, ``relative`` (max_abs over the largest
    recorded magnitude) for floats, ``iou`` for masks and maps: the smallest of all segments, ``agreement`` (the part of
    the pixels that are equal) for maps. ``bound`` is None where the value is only reported. ``note`` says what no
    number does.
    """

    file: str
    mode: str
    stage: str
    key: str
    kind: ValueKind
    values: int
    ok: bool
    max_abs: float | None = None
    relative: float | None = None
    iou: float | None = None
    agreement: float | None = None
    bound: float | None = None
    note: str = ""

    @property
    def severity(self) -> tuple[bool, float]:
        """Sorts the worst first when descending: failures, then by the part of the bound that is used up."""
        if self.kind in ("masks", "maps"):
            return not self.ok, 1 - (self.iou if self.iou is not None else 0.0)
        return not self.ok, (self.max_abs or 0.0) / self.bound if self.bound else (self.relative or 0.0)


@dataclass(frozen=True)
class Measure:
    """A comparison before it is judged; where it is of masks, ``differing`` of an image's ``pixels``."""

    values: int
    max_abs: float | None = None
    relative: float | None = None
    iou: float | None = None
    agreement: float | None = None
    differing: int = 0
    pixels: int = 0
    note: str = ""


KeyMeasure = tuple[str, ValueKind, Measure]  # recorded key, kind, measure


def numbers(ours: Array, recorded: Array) -> Measure:
    """Largest absolute and relative difference of two arrays; leading axes of 1 do not matter.

    A NaN or another shape counts as an infinite difference.
    """
    ours, recorded = _squeeze(np.asarray(ours)), _squeeze(np.asarray(recorded))
    if ours.shape != recorded.shape:
        note = f"shape {list(ours.shape)}, recorded {list(recorded.shape)}"
        return Measure(recorded.size, np.inf, np.inf, note=note)
    if not recorded.size:
        return Measure(0, 0.0, 0.0)
    with np.errstate(invalid="ignore"):  # inf - inf gives the NaN that is looked for
        difference = np.abs(ours.astype(np.float64) - recorded)
    largest = float(difference.max())
    if np.isnan(largest):
        return Measure(recorded.size, np.inf, np.inf, note="not a number")
    scale = float(np.abs(recorded.astype(np.float64)).max())
    return Measure(recorded.size, largest, largest / scale if scale else float(largest > 0))


def worst(measures: Iterable[Measure]) -> Measure:
    """One measure of several parts of a value; ``differing`` is that of the part with the most."""
    parts = list(measures) or [Measure(0, 0.0, 0.0)]
    return Measure(
        sum(part.values for part in parts),
        max((part.max_abs for part in parts if part.max_abs is not None), default=None),
        max((part.relative for part in parts if part.relative is not None), default=None),
        min((part.iou for part in parts if part.iou is not None), default=None),
        min((part.agreement for part in parts if part.agreement is not None), default=None),
        max(part.differing for part in parts),
        max(part.pixels for part in parts),
        next((part.note for part in parts if part.note), ""),
    )


def noted(measure: Measure, note: str) -> Measure:
    """The measure with another note, unless that is empty."""
    return replace(measure, note=note) if note else measure


def masks(ours: Array, recorded: Array) -> Measure:
    """IoU of two bool masks [H, W]."""
    if ours.shape != recorded.shape:
        note = f"shape {list(ours.shape)}, recorded {list(recorded.shape)}"
        return Measure(recorded.size, iou=0.0, differing=recorded.size, note=note)
    differing = int(np.count_nonzero(ours != recorded))
    return Measure(
        recorded.size,
        iou=mask_iou(ours, recorded),
        differing=differing,
        pixels=recorded.size,
        note=_pixels(differing),
    )


def label_maps(ours: Array, recorded: Array) -> Measure:
    """Two maps of labels [H, W]: the smallest IoU of any label that occurs, and the pixels that differ."""
    if ours.shape != recorded.shape:
        return replace(masks(ours, recorded), agreement=0.0)
    differing = int(np.count_nonzero(ours != recorded))
    if not differing:
        return Measure(recorded.size, iou=1.0, agreement=1.0)
    labels = np.union1d(np.unique(ours), np.unique(recorded))
    iou = min(mask_iou(ours == label, recorded == label) for label in labels)
    return Measure(
        recorded.size,
        iou=iou,
        agreement=1 - differing / recorded.size,
        differing=differing,
        pixels=recorded.size,
        note=_pixels(differing),
    )


def judge(measure: Measure, kind: ValueKind, bounds: Bounds) -> tuple[float | None, bool]:
    """The bound of a value and whether it is kept."""
    if kind == "maps" and bounds.agreement is not None:
        return bounds.agreement, measure.agreement is not None and measure.agreement >= bounds.agreement
    if kind in ("masks", "maps"):
        undecided = max(bounds.undecided[0], int(bounds.undecided[1] * measure.pixels))
        return bounds.iou, measure.iou is not None and (measure.iou >= bounds.iou or measure.differing <= undecided)
    if kind in ("ids", "text"):
        return 0.0, measure.max_abs == 0
    bound = bounds.pixels if kind == "pixels" else bounds.floats
    difference = np.inf if measure.max_abs is None else measure.max_abs
    if bound is None:
        return None, bool(np.isfinite(difference))
    return bound, difference <= bound or (measure.relative is not None and measure.relative <= bounds.relative)


def _pixels(count: int) -> str:
    return f"{count} pixel{'s differ' if count > 1 else ' differs'}" if count else ""


def _squeeze(array: Array) -> Array:
    shape = array.shape
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return array.reshape(shape) if prod(shape) == array.size else array
