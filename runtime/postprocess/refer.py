"""A mask for each phrase: referring and reasoning segmentation (refseg, reaseg), grounded conversation (gcgseg)."""

from __future__ import annotations

import numpy as np

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.common import (
    Floats,
    QueryMask,
    class_scores,
    query_mask,
    require_fraction,
    resizer_for,
)


def grounded_masks(
    class_logits: Floats, mask_logits: Masks, frame: Frame, mask_threshold: float = 0.5
) -> tuple[QueryMask, ...]:
    """One mask per phrase, in the phrases' order; empty masks included. Masks may overlap.

    As the official ``img_gcgseg_postprocess_fn``, which paints the masks in this order into one map, so that a
    later phrase hides an earlier one; here every phrase keeps its whole mask.
    """
    require_fraction(mask_threshold=mask_threshold)
    scores = class_scores(class_logits)
    resizer = resizer_for(mask_logits, frame)
    best = scores.argmax(0)
    masks = {query: query_mask(mask_logits[query], resizer, mask_threshold) for query in {int(q) for q in best}}
    return tuple(
        QueryMask(int(query), label, float(scores[query, label]), masks[int(query)]) for label, query in enumerate(best)
    )


def referred_mask(class_logits: Floats, mask_logits: Masks, frame: Frame, mask_threshold: float = 0.5) -> QueryMask:
    """The mask of the best query, where its probability exceeds ``mask_threshold``; it may be empty.

    As the official ``img_refseg_postprocess_fn``; ``class_logits`` is float32 [Q, 2]. The query is chosen before
    anything is resized. Where a model answered with several phrases, which the official code does not take, the
    first counts.
    """
    return grounded_masks(class_logits, mask_logits, frame, mask_threshold)[0]


def generalised_mask(
    class_logits: Floats,
    mask_logits: Masks,
    frame: Frame,
    class_threshold: float = 0.6,
    mask_threshold: float = 0.5,
) -> QueryMask:
    """For phrases that name several objects: the union of every query that scores ``class_threshold``, or of the best.

    The score is the mean over those queries, ``query`` the best of them. As the official
    ``img_grefseg_postprocess_fn``; ``class_logits`` is float32 [Q, 2].
    """
    require_fraction(class_threshold=class_threshold, mask_threshold=mask_threshold)
    scores = class_scores(class_logits)[:, 0]
    resizer = resizer_for(mask_logits, frame)
    union = np.zeros(frame.image_size, bool)
    chosen = np.flatnonzero((scores >= np.float32(class_threshold)) | (scores == scores.max()))
    for query in chosen:
        union |= query_mask(mask_logits[query], resizer, mask_threshold)
    return QueryMask(int(scores.argmax()), 0, float(scores[chosen].mean(dtype=np.float64)), union)
