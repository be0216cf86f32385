"""From the mask decoder's output to segments, one function per form of an answer.

Each makes a reader: a function of class logits [queries, conditions + 1] and mask logits [queries, gh, gw].

A threshold is a score, 0..1: what scores less is not there, and a result may be empty. "official" is the rule of the
official code, which knows an empty answer of categories only: a phrase and a region get the best mask, whatever it
scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime import arguments
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.chain.pipeline import Float
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.resize import Frame, restore_mask
from xsam_edge.runtime.postprocess import (
    QueryMask,
    generalised_mask,
    grounded_masks,
    instance_masks,
    interactive_mask,
    panoptic_segments,
    referred_mask,
    semantic_map,
)
from xsam_edge.runtime.postprocess.common import class_scores
from xsam_edge.runtime.results.iou import map_boxes
from xsam_edge.runtime.results.segment import Segment

Threshold = float | Literal["official"]
"""A score that a segment must have, or the official rule."""

# What the official code keeps.
SEVERAL_THRESHOLD = 0.6
REGION_THRESHOLD = 0.5
CATEGORY_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What post-processing made of an answer.

    ``best_score`` is that of the best candidate, where one thing was asked for; ``reason`` says why there is none.
    """

    segments: tuple[Segment, ...]
    id_map: npt.NDArray[np.int32] | None = None
    best_score: float | None = None
    reason: str = ""


Reader = Callable[[Float, Masks], Segmentation]
Labels = Sequence[str]


def checked_threshold(threshold: object, default: Threshold = "official") -> Threshold:
    """A threshold that a user gave, or the default in place of None.

    Raises:
        InputError: neither a number from 0 to 1 nor "official".
    """
    if threshold is None:
        return default
    if isinstance(threshold, str) and threshold == "official":
        return "official"
    try:
        return arguments.share("threshold", threshold)
    except InputError as error:
        raise InputError(f"{error}, or 'official'") from None


def referred(frame: Frame, labels: Labels, threshold: Threshold, *, several: bool) -> Reader:
    """The one thing that a phrase names; with ``several``, everything that scores ``threshold``."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        best = float(class_scores(class_logits)[:, 0].max())
        if _is_below(best, threshold):
            return _nothing(best, threshold)
        if several:
            least = SEVERAL_THRESHOLD if threshold == "official" else threshold
            mask = generalised_mask(class_logits, mask_logits, frame, least)
        else:
            mask = referred_mask(class_logits, mask_logits, frame)
        return Segmentation(_segments([mask], labels), best_score=best)

    return read


def instances(frame: Frame, labels: Labels, threshold: Threshold, things: int | None = None) -> Reader:
    """Things one by one, which may overlap; only the first ``things`` labels unless None."""
    least = CATEGORY_THRESHOLD if threshold == "official" else threshold

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        thing_ids = None if things is None else range(things)
        return Segmentation(_segments(instance_masks(class_logits, mask_logits, frame, least, thing_ids), labels))

    return read


def semantic(frame: Frame, labels: Labels, things: int, threshold: Threshold, settings: Settings) -> Reader:
    """One region for each label, the first ``things`` of which are things.

    Without a number as threshold every pixel gets one of the labels, as in the official code.
    """
    least = 0.0 if threshold == "official" else threshold

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        semantic = semantic_map(class_logits, mask_logits, frame, settings.semantic_resize, least)
        boxes, areas = map_boxes(semantic.label_map, len(labels))
        scores = semantic.scores
        segments = tuple(
            Segment.from_map(
                semantic.label_map, label, boxes[label], areas[label], scores[label], name, label, label < things
            )
            for label, name in enumerate(labels)
            if areas[label]
        )
        semantic.label_map.setflags(write=False)  # masks are cut out of it
        return Segmentation(segments, semantic.label_map)

    return read


def panoptic(frame: Frame, labels: Labels, things: int, threshold: Threshold, overlap_threshold: float) -> Reader:
    """Every pixel once: the first ``things`` labels one by one, the others as one region each."""
    least = CATEGORY_THRESHOLD if threshold == "official" else threshold

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        stuff_ids = range(things, len(labels))
        panoptic = panoptic_segments(class_logits, mask_logits, frame, stuff_ids, least, overlap_threshold)
        boxes, areas = map_boxes(panoptic.id_map, len(panoptic.segments) + 1)
        segments = tuple(
            Segment.from_map(
                panoptic.id_map,
                item.id,
                boxes[item.id],
                areas[item.id],
                item.score,
                _label(labels, item.label_id),
                item.label_id,
                item.is_thing,
                item.id,
            )
            for item in panoptic.segments
        )
        panoptic.id_map.setflags(write=False)  # masks are cut out of it
        return Segmentation(segments, panoptic.id_map)

    return read


def pointed_at(
    frame: Frame, labels: Labels, threshold: Threshold, shown: npt.NDArray[np.uint8], settings: Settings
) -> Reader:
    """The object under a region, ``shown`` on the mask encoder's input."""
    least = REGION_THRESHOLD if threshold == "official" else threshold

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        region = restore_mask(shown, frame)
        mask = interactive_mask(class_logits, mask_logits, frame, region, settings.interactive_match, least)
        # One that scores less than the threshold is the best: it is given where no other scores enough.
        if _is_below(mask.score, threshold):
            return _nothing(mask.score, threshold)
        return Segmentation(_segments([mask], labels), best_score=mask.score)

    return read


def grounded(frame: Frame, phrases: Labels, threshold: Threshold) -> Reader:
    """A mask for each phrase of a caption whose best mask scores ``threshold``."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        masks = grounded_masks(class_logits, mask_logits, frame)
        return Segmentation(_segments([mask for mask in masks if not _is_below(mask.score, threshold)], phrases))

    return read


def _is_below(score: float, threshold: Threshold) -> bool:
    return threshold != "official" and np.float32(score) < np.float32(threshold)


def _nothing(best: float, threshold: Threshold) -> Segmentation:
    return Segmentation((), None, best, f"the best mask scores {best:.3f}, below the threshold of {threshold:g}")


def _segments(masks: Sequence[QueryMask], labels: Labels) -> tuple[Segment, ...]:
    return tuple(
        Segment.from_mask(item.mask, item.score, _label(labels, item.label_id), item.label_id) for item in masks
    )


def _label(labels: Labels, label_id: int) -> str | None:
    """A condition's name; None past those that were asked for, where a model's answer has phrases of its own."""
    return labels[label_id] if label_id < len(labels) else None
