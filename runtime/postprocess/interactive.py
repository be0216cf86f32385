"""Interactive segmentation (intseg): the segment that a point, box, scribble or mask asks for."""

from __future__ import annotations

from typing import Literal

import numpy as np

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.errors import InputError
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
from xsam_edge.runtime.postprocess.selection import topk_order
from xsam_edge.runtime.results.iou import box_iou, mask_box, mask_iou


def interactive_mask(
    class_logits: Floats,
    mask_logits: Masks,
    frame: Frame,
    prompt: Mask,
    match: Literal["box", "mask"],
    threshold: float = 0.5,
) -> QueryMask:
    """Of the masks that score at least ``threshold``, or else the best, the one that overlaps ``prompt`` best.

    ``class_logits`` is float32 [Q, 2], ``prompt`` bool [H, W] at the image's size (as ``resize.restore_mask`` gives
    it). Score: class score x mean probability inside the mask. ``match`` is the overlap: IoU of the masks (the
    official ``img_intseg_postprocess_fn``) or of their boxes (the same function in the code of AAAI 2026). Equal
    overlaps, as of masks that touch all four edges, are decided as there: see ``selection``.
    """
    require_fraction(threshold=threshold)
    if prompt.shape != tuple(frame.image_size):
        raise InputError(f"the prompt mask is {prompt.shape}; expected the image's size {frame.image_size}")
    scores = class_scores(class_logits)[:, 0]
    resizer = resizer_for(mask_logits, frame)
    prompt_box, area = mask_box(prompt), np.count_nonzero(prompt)

    def overlap(mask: Mask) -> float:
        if not area:  # a prompt thinner than a pixel of the mask encoder's input may be lost on its way back
            return 0.0
        ratio = box_iou(mask_box(mask), prompt_box) if match == "box" else mask_iou(mask, prompt)
        return float(np.float32(ratio))  # the official precision, which decides what is equal

    # A mask scores at most its class score: once that is below the threshold and the best so far, the rest is too.
    rated: list[tuple[float, float, int]] = []  # score, overlap, query
    best = 0.0
    for query in np.argsort(-scores, kind="stable"):
        bound = float(scores[query]) * (1 + SCORE_SLACK)
        if rated and bound < threshold and bound < best:
            break
        mask, probability = measured_mask(mask_logits[query], resizer)
        score = float(scores[query] * np.float32(probability))
        best = max(best, score)
        rated.append((score, overlap(mask), int(query)))
    kept = [item for item in rated if item[0] >= threshold or item[0] == best]
    place = {query: position for position, query in enumerate(topk_order(scores))}
    score, _, query = max(kept, key=lambda item: (item[1], -place[item[2]]))
    # Resized again rather than kept: masks of large images are large.
    return QueryMask(query, 0, score, measured_mask(mask_logits[query], resizer)[0])
