"""Referring and reasoning segmentation (refseg, reaseg): one phrase, one mask."""

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
from xsam_edge.runtime.postprocess.grounded import grounded_masks


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
