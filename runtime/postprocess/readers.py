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
from xsam_edge.runtime.results.result import Segment


@dataclass(frozen=True, eq=False)
class Found:
    """What post-processing made of an answer."""

    segments: tuple[Segment, ...]
    id_map: npt.NDArray[np.int32] | None = None


Reader = Callable[[Float, Masks], Found]
Labels = Sequence[str]


def referred(frame: Frame, labels: Labels, threshold: float, *, several: bool) -> Reader:
    """The one thing that a phrase names; with ``several``, everything that scores ``threshold``."""

    def read(class_logits: Float, mask_logits: Masks) -> Found:
        if several:
            return Found(_segments([generalised_mask(class_logits, mask_logits, frame, threshold)], labels))
        return Found(_segments([referred_mask(class_logits, mask_logits, frame)], labels))

    return read


def instances(frame: Frame, labels: Labels, threshold: float, things: int | None = None) -> Reader:
    """Things one by one, which may overlap; only the first ``things`` labels unless None."""

    def read(class_logits: Float, mask_logits: Masks) -> Found:
        thing_ids = None if things is None else range(things)
        return Found(_segments(instance_masks(class_logits, mask_logits, frame, threshold, thing_ids), labels))

    return read


def semantic(frame: Frame, labels: Labels, things: int, settings: Settings) -> Reader:
    """One region for each label, the first ``things`` of which are things."""

    def read(class_logits: Float, mask_logits: Masks) -> Found:
        found = semantic_map(class_logits, mask_logits, frame, settings.semantic_resize)
        segments = tuple(
            Segment.from_mask(found.label_map == label, found.shares[label], name, label, label < things)
            for label, name in enumerate(labels)
            if (found.label_map == label).any()
        )
        return Found(segments, found.label_map)

    return read


def panoptic(frame: Frame, labels: Labels, things: int, threshold: float, overlap_threshold: float) -> Reader:
    """Every pixel once: the first ``things`` labels one by one, the others as one region each."""

    def read(class_logits: Float, mask_logits: Masks) -> Found:
        stuff_ids = range(things, len(labels))
        found = panoptic_segments(class_logits, mask_logits, frame, stuff_ids, threshold, overlap_threshold)
        segments = tuple(
            Segment.from_mask(
                found.mask(item), item.score, _label(labels, item.label_id), item.label_id, item.is_thing, item.id
            )
            for item in found.segments
        )
        return Found(segments, found.id_map)

    return read


def pointed_at(
    frame: Frame, labels: Labels, threshold: float, shown: npt.NDArray[np.uint8], settings: Settings
) -> Reader:
    """The object under a region, ``shown`` on the mask encoder's input."""

    def read(class_logits: Float, mask_logits: Masks) -> Found:
        region = restore_mask(shown, frame)
        found = interactive_mask(class_logits, mask_logits, frame, region, settings.interactive_match, threshold)
        return Found(_segments([found], labels))

    return read


def grounded(frame: Frame, phrases: Labels) -> Reader:
    """A mask for each phrase of a caption."""

    def read(class_logits: Float, mask_logits: Masks) -> Found:
        return Found(_segments(grounded_masks(class_logits, mask_logits, frame), phrases))

    return read


def _segments(found: Sequence[QueryMask], labels: Labels) -> tuple[Segment, ...]:
    return tuple(
        Segment.from_mask(item.mask, item.score, _label(labels, item.label_id), item.label_id) for item in found
    )


def _label(labels: Labels, label_id: int) -> str | None:
    """A condition's name; None past those that were asked for, where a model's answer has phrases of its own."""
    return labels[label_id] if label_id < len(labels) else None
