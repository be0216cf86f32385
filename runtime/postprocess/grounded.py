"""Grounded conversation (gcgseg): the best query of every phrase of a caption."""

from __future__ import annotations

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
