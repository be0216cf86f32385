"""From the mask decoder's output to segments, one function per form of an answer.

Each makes a reader: a function of class logits [queries, conditions + 1] and mask logits [queries, gh, gw].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.chain.pipeline import Float
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
from xsam_edge.runtime.results.segment import Segment


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What post-processing made of an answer."""

    segments: tuple[Segment, ...]
    id_map: npt.NDArray[np.int32] | None = None


Reader = Callable[[Float, Masks], Segmentation]
Labels = Sequence[str]


def referred(frame: Frame, labels: Labels, threshold: float, *, several: bool) -> Reader:
    """The one thing that a phrase names; with ``several``, everything that scores ``threshold``."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        if several:
            return Segmentation(_segments([generalised_mask(class_logits, mask_logits, frame, threshold)], labels))
        return Segmentation(_segments([referred_mask(class_logits, mask_logits, frame)], labels))

    return read


def instances(frame: Frame, labels: Labels, threshold: float, things: int | None = None) -> Reader:
    """Things one by one, which may overlap; only the first ``things`` labels unless None."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        thing_ids = None if things is None else range(things)
        return Segmentation(_segments(instance_masks(class_logits, mask_logits, frame, threshold, thing_ids), labels))

    return read


def semantic(frame: Frame, labels: Labels, things: int, settings: Settings) -> Reader:
    """One region for each label, the first ``things`` of which are things."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        semantic = semantic_map(class_logits, mask_logits, frame, settings.semantic_resize)
        segments = tuple(
            Segment.from_mask(semantic.label_map == label, semantic.shares[label], name, label, label < things)
            for label, name in enumerate(labels)
            if (semantic.label_map == label).any()
        )
        return Segmentation(segments, semantic.label_map)

    return read


def panoptic(frame: Frame, labels: Labels, things: int, threshold: float, overlap_threshold: float) -> Reader:
    """Every pixel once: the first ``things`` labels one by one, the others as one region each."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        stuff_ids = range(things, len(labels))
        panoptic = panoptic_segments(class_logits, mask_logits, frame, stuff_ids, threshold, overlap_threshold)
        segments = tuple(
            Segment.from_mask(
                panoptic.mask(item), item.score, _label(labels, item.label_id), item.label_id, item.is_thing, item.id
            )
            for item in panoptic.segments
        )
        return Segmentation(segments, panoptic.id_map)

    return read


def pointed_at(
    frame: Frame, labels: Labels, threshold: float, shown: npt.NDArray[np.uint8], settings: Settings
) -> Reader:
    """The object under a region, ``shown`` on the mask encoder's input."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        region = restore_mask(shown, frame)
        mask = interactive_mask(class_logits, mask_logits, frame, region, settings.interactive_match, threshold)
        return Segmentation(_segments([mask], labels))

    return read


def grounded(frame: Frame, phrases: Labels) -> Reader:
    """A mask for each phrase of a caption."""

    def read(class_logits: Float, mask_logits: Masks) -> Segmentation:
        return Segmentation(_segments(grounded_masks(class_logits, mask_logits, frame), phrases))

    return read


def _segments(masks: Sequence[QueryMask], labels: Labels) -> tuple[Segment, ...]:
    return tuple(
        Segment.from_mask(item.mask, item.score, _label(labels, item.label_id), item.label_id) for item in masks
    )


def _label(labels: Labels, label_id: int) -> str | None:
    """A condition's name; None past those that were asked for, where a model's answer has phrases of its own."""
    return labels[label_id] if label_id < len(labels) else None
