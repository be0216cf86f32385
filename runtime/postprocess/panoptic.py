"""Panoptic segmentation (genseg, ovseg): every pixel to at most one segment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.common import Floats, Mask, class_scores, require_fraction
from xsam_edge.runtime.postprocess.competition import compete

LOOKUP_ROWS = 64  # of a map, whose owners become ids at once


@dataclass(frozen=True)
class PanopticPiece:
    """What one query adds to a segment; ``area`` in pixels."""

    query: int
    segment_id: int
    label_id: int
    score: float
    area: int


@dataclass(frozen=True)
class PanopticSegment:
    """One object, or all stuff of one class. ``score`` is the best of its pieces', ``area`` their sum in pixels."""

    id: int
    label_id: int
    score: float
    area: int
    is_thing: bool


@dataclass(frozen=True, eq=False)
class Panoptic:
    """``id_map`` int32 [H, W] holds segment ids, 0 = void; ids count from 1 in the order of ``segments``."""

    id_map: NDArray[np.int32]
    segments: tuple[PanopticSegment, ...]
    pieces: tuple[PanopticPiece, ...]  # in the order of their queries

    def mask(self, segment: PanopticSegment) -> Mask:
        """Bool [H, W] of one segment."""
        mask: Mask = self.id_map == segment.id
        return mask


def panoptic_segments(
    class_logits: Floats,
    mask_logits: Masks,
    frame: Frame,
    stuff_ids: Collection[int] = (),
    threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    mask_threshold: float = 0.5,
) -> Panoptic:
    """Queries that score above ``threshold`` compete for every pixel; classes of ``stuff_ids`` are fused.

    A pixel goes to the query with the largest probability x score. A query is kept when it wins more than
    ``overlap_threshold`` of the pixels where probability x score >= ``mask_threshold``; the pixels of a query that is
    not kept become void. As the official ``compute_segments``, whose mask threshold is indeed compared after
    weighting, with two differences: the official code lists a fused segment once per query (our ``pieces``), and
    after it has reused the id of a stuff segment it gives the following id out again, so that two segments may
    share one; here every segment has its own.
    """
    require_fraction(threshold=threshold, overlap_threshold=overlap_threshold, mask_threshold=mask_threshold)
    scores = class_scores(class_logits)
    labels, best = scores.argmax(-1), scores.max(-1)
    queries = np.flatnonzero(best > np.float32(threshold))
    if not len(queries):
        return Panoptic(np.zeros(frame.image_size, np.int32), (), ())
    owner, won, claimed = compete(mask_logits[queries], best[queries], frame, mask_threshold)
    # Both areas are rounded to float32 first, as in the official ratio; a query that claims nothing is dropped.
    share = np.where(claimed > 0, won.astype(np.float32) / np.maximum(claimed, 1).astype(np.float32), np.float32(0))

    pieces: list[PanopticPiece] = []
    stuff: dict[int, int] = {}  # label id -> segment id
    lookup = np.zeros(len(queries), np.int32)
    count = 0
    for index, query in enumerate(queries):
        if not float(share[index]) > overlap_threshold:
            continue
        label = int(labels[query])
        if label in stuff:
            lookup[index] = stuff[label]
        else:
            count += 1
            lookup[index] = count
            if label in stuff_ids:
                stuff[label] = count
        pieces.append(PanopticPiece(int(query), int(lookup[index]), label, float(best[query]), int(won[index])))
    for top in range(0, len(owner), LOOKUP_ROWS):  # in place, since maps of large pictures are large
        rows = owner[top : top + LOOKUP_ROWS]
        rows[:] = lookup[rows]
    return Panoptic(owner, _merge(pieces, stuff_ids), tuple(pieces))


def _merge(pieces: list[PanopticPiece], stuff_ids: Collection[int]) -> tuple[PanopticSegment, ...]:
    grouped: dict[int, list[PanopticPiece]] = {}
    for piece in pieces:
        grouped.setdefault(piece.segment_id, []).append(piece)
    return tuple(
        PanopticSegment(
            id=segment_id,
            label_id=group[0].label_id,
            score=max(piece.score for piece in group),
            area=sum(piece.area for piece in group),
            is_thing=group[0].label_id not in stuff_ids,
        )
        for segment_id, group in grouped.items()
    )
