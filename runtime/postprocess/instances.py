"""Instances: the instance form of genseg and ovseg, and visually grounded segmentation (vgdseg)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.common import (
    SCORE_SLACK,
    Floats,
    Mask,
    QueryMask,
    class_scores,
    measured_mask,
    require_fraction,
    resizer_for,
)


def instance_masks(
    class_logits: Floats,
    mask_logits: Masks,
    frame: Frame,
    threshold: float = 0.5,
    thing_ids: Collection[int] | None = None,
) -> tuple[QueryMask, ...]:
    """Masks that score at least ``threshold``, best first; empty masks are dropped, masks may overlap.

    Of all (query, class) pairs the Q best by class score are candidates, so that one query may appear under several
    classes. The mask is logit > 0, its score the class score x the mean probability inside the mask. With
    ``thing_ids`` only these classes are kept, after the candidates are chosen. As the official
    ``img_genseg_postprocess_fn`` (instance) and ``img_vgdseg_postprocess_fn``.
    """
    require_fraction(threshold=threshold)
    scores = class_scores(class_logits)
    queries, classes = scores.shape
    flat = scores.ravel()
    # Pairs below the threshold can neither be kept nor push a pair above it out of the best Q.
    candidates = np.flatnonzero(flat >= threshold * (1 - SCORE_SLACK))
    candidates = candidates[np.argsort(-flat[candidates], kind="stable")[:queries]]
    resizer = resizer_for(mask_logits, frame)
    measured: dict[int, tuple[Mask | None, float]] = {}
    masks = []
    for pair in candidates:
        query, label = divmod(int(pair), classes)
        if thing_ids is not None and label not in thing_ids:
            continue
        if query not in measured:
            mask, probability = measured_mask(mask_logits[query], resizer)
            # Its first pair scores best: where that is too little, the mask of a large image is let go of at once.
            measured[query] = (mask if float(flat[pair] * np.float32(probability)) >= threshold else None), probability
        kept, probability = measured[query]
        score = float(flat[pair] * np.float32(probability))
        if kept is not None and probability > 0 and score >= threshold:
            masks.append(QueryMask(query, label, score, kept))
    return tuple(sorted(masks, key=lambda item: -item.score))
