"""Semantic segmentation (genseg, ovseg): a class for every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.chain.mask_logits import Masks
from xsam_edge.runtime.image.resize import Frame, Window, input_resizer, scaled_resizer
from xsam_edge.runtime.postprocess.common import Floats, class_scores, require_fraction, resizer_for, sigmoid
from xsam_edge.runtime.postprocess.competition import first_argmax


@dataclass(frozen=True, eq=False)
class Semantic:
    """``label_map`` int32 [H, W] of class indices, -1 where no class is; ``scores`` float32 [C].

    A class scores what its best query does, as a panoptic segment; the official code gives no score.
    """

    label_map: NDArray[np.int32]
    scores: Floats


def semantic_map(
    class_logits: Floats,
    mask_logits: Masks,
    frame: Frame,
    resized: Literal["logits", "evidence"] = "logits",
    threshold: float = 0.0,
) -> Semantic:
    """Per pixel the class with the largest evidence, the sum over queries of score x probability.

    ``resized`` is what is brought to the image's size: mask logits (the official ``img_genseg_postprocess_fn``), or
    the evidence computed on the mask encoder's input (the same function in the code of AAAI 2026).

    With a ``threshold``, which the official code has not, scores below it count as 0, and a pixel whose evidence is
    less than half of it (a query that scores enough is there where its probability is at least a half) has no class.
    """
    require_fraction(threshold=threshold)
    scores = class_scores(class_logits)
    best = scores.max(0)
    scores[scores < np.float32(threshold)] = 0
    label_map = np.empty(frame.image_size, np.int32)
    bands = _bands_of_logits if resized == "logits" else _bands_of_evidence
    for band, evidence in bands(np.ascontiguousarray(scores.T), np.asarray(mask_logits), frame):
        labels = first_argmax(evidence)
        if threshold:
            largest = np.take_along_axis(evidence, labels[None], 0)[0]
            labels[largest < np.float32(threshold / 2)] = -1
        label_map[band.slices] = labels
    return Semantic(label_map, best)


def _evidence(scores: Floats, logits: Floats) -> Floats:
    """[C, Q] scores and [Q, rows, columns] mask logits -> [C, rows, columns]."""
    probabilities = sigmoid(logits).reshape(len(logits), -1)
    return (scores @ probabilities).reshape(len(scores), *logits.shape[1:])


def _bands_of_logits(scores: Floats, mask_logits: Floats, frame: Frame) -> Iterator[tuple[Window, Floats]]:
    for band, logits in resizer_for(mask_logits, frame).bands(mask_logits):
        yield band, _evidence(scores, logits)


def _bands_of_evidence(scores: Floats, mask_logits: Floats, frame: Frame) -> Iterator[tuple[Window, Floats]]:
    """Bands of the image from bands of the input; an input row that two bands share is computed for each."""
    to_input = input_resizer((mask_logits.shape[1], mask_logits.shape[2]), frame)
    to_image = scaled_resizer(frame)
    shrinking = np.prod(frame.scaled_size) / np.prod(frame.image_size)  # a band of a small image needs many input rows
    left, blocks = -1, []
    for band in to_image.plan(int(len(scores) * max(1.0, shrinking))):
        if band.left != left:
            left, blocks = band.left, to_image.column_blocks(band)
            columns = to_image.columns.inputs(band.left, band.right)
        rows = to_image.rows.inputs(band.top, band.bottom)
        # As wide as the input, of which the band needs some columns.
        evidence = np.empty((len(scores), rows.stop - rows.start, frame.scaled_size[1]), np.float32)
        needed = Window(rows.start, rows.stop, columns.start, columns.stop)
        for part, logits in to_input.bands(mask_logits, needed):
            top, bottom = part.top - rows.start, part.bottom - rows.start
            evidence[:, top:bottom, part.left : part.right] = _evidence(scores, logits)
        yield band, to_image.render(evidence, band, blocks)
