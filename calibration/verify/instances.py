"""Recorded instances against ours, in any order: the official code leaves them as an unsorted top-k does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.verify import compare
from xsam_edge.calibration.verify.compare import Array, KeyMeasure, Measure
from xsam_edge.calibration.verify.reference import Recording
from xsam_edge.runtime.postprocess.common import QueryMask
from xsam_edge.runtime.results.iou import mask_box, mask_iou

VOID = 255  # in recorded maps of integers; those of floats have -1

_CANDIDATES = 4  # of one class and nearly one score, that are told apart by their masks


@dataclass(frozen=True, eq=False)
class _Recorded:
    """The recorded instances that are not empty, which the recorded segments are. None where a key was dropped."""

    masks: npt.NDArray[np.bool_]  # [N, H, W]
    scores: Array | None
    classes: Array | None
    boxes: Array | None


def measure_instances(key: str, ours: Sequence[QueryMask], recording: Recording) -> list[KeyMeasure]:
    """Pair every recorded instance of ``key`` ("post") with one of ours, and measure what the pairs differ by."""
    names = {name: f"{key}.inst.{name}" for name in ("pred_masks", "scores", "pred_classes", "pred_boxes")}
    if names["pred_masks"] not in recording:
        return _measure_scores(names["scores"], ours, recording)
    theirs = _read(key, names, recording)
    pairs = _pair(theirs, ours)
    measures: list[KeyMeasure] = [(names["pred_masks"], "masks", _measure_masks(theirs, ours, pairs))]
    if theirs.scores is not None and names["scores"] in recording:
        scores = np.array([ours[index].score for index in pairs.values()])
        # A score is a mean over its mask: a pixel more or less, of probability 0.5, moves it by up to this much.
        slack = np.array([_slack(ours[j].mask, theirs.masks[i]) for i, j in pairs.items()])
        recorded = theirs.scores[list(pairs)]
        recorded = np.clip(scores, recorded - slack, recorded + slack)
        measures.append((names["scores"], "floats", compare.numbers(scores, recorded)))
    if theirs.classes is not None and names["pred_classes"] in recording:
        classes = np.sort(np.array([item.label_id for item in ours], np.int64))
        measures.append((names["pred_classes"], "ids", compare.numbers(classes, np.sort(theirs.classes))))
    if theirs.boxes is not None:
        # A pixel at the border moves a box by a whole one, and was judged with its mask.
        same = [i for i, j in pairs.items() if np.array_equal(theirs.masks[i], ours[j].mask)]
        boxes = np.array([mask_box(ours[pairs[i]].mask) for i in same]).reshape(-1, 4)
        measures.append((names["pred_boxes"], "floats", compare.numbers(boxes, theirs.boxes[same])))
    if (name := f"{key}.segmentation") in recording and len(pairs) == len(theirs.masks):
        shown = recording[name]
        void = -1 if np.issubdtype(shown.dtype, np.floating) else VOID
        painted = np.full(shown.shape, void, np.int64)
        for index in range(len(theirs.masks)):  # later ones hide earlier ones
            painted[ours[pairs[index]].mask] = index
        measures.append((name, "maps", compare.label_maps(painted, shown)))
    return measures


def _read(key: str, names: dict[str, str], recording: Recording) -> _Recorded:
    facts = recording.meta[key]
    height, width = facts["inst.mask_shape"][1:]
    masks = np.unpackbits(recording[names["pred_masks"]], axis=-1)[:, :height, :width].astype(bool)
    kept = masks.any((1, 2))
    infos = facts.get("segments_info") or []

    def column(name: str, field: str) -> Array | None:
        if names[name] in recording:
            return recording[names[name]][kept]
        return np.array([info[field] for info in infos]) if len(infos) == kept.sum() else None

    boxes = recording[names["pred_boxes"]][kept] if names["pred_boxes"] in recording else None
    return _Recorded(masks[kept], column("scores", "score"), column("pred_classes", "label_id"), boxes)


def _pair(theirs: _Recorded, ours: Sequence[QueryMask]) -> dict[int, int]:
    """Recorded index -> index of ours, in rising order. Class and score tell most apart, then the masks decide."""
    count = len(theirs.masks)
    order = range(count) if theirs.scores is None else np.argsort(-theirs.scores, kind="stable").tolist()
    pairs: dict[int, int] = {}
    left = set(range(len(ours)))
    for index in order:
        same = [i for i in sorted(left) if theirs.classes is None or ours[i].label_id == theirs.classes[index]]
        if theirs.scores is not None:
            score = float(theirs.scores[index])
            same = sorted(same, key=lambda i: abs(ours[i].score - score))[:_CANDIDATES]
        if same:
            pairs[index] = max(same, key=lambda i: mask_iou(ours[i].mask, theirs.masks[index]))
            left.discard(pairs[index])
    return dict(sorted(pairs.items()))


def _slack(ours: npt.NDArray[np.bool_], recorded: npt.NDArray[np.bool_]) -> float:
    differing = int(np.count_nonzero(ours != recorded))
    return 0.5 * differing / max(1, int(np.count_nonzero(recorded)))


def _measure_masks(theirs: _Recorded, ours: Sequence[QueryMask], pairs: dict[int, int]) -> Measure:
    parts = [compare.masks(ours[j].mask, theirs.masks[i]) for i, j in pairs.items()]
    measure = compare.worst(parts)
    if not len(pairs) == len(theirs.masks) == len(ours):
        note = f"{len(theirs.masks)} recorded, {len(ours)} found, {len(pairs)} of them of one class"
        return replace(measure, iou=0.0, differing=theirs.masks.size, values=theirs.masks.size, note=note)
    return replace(measure, iou=1.0 if measure.iou is None else measure.iou, max_abs=None, relative=None)


def _measure_scores(name: str, ours: Sequence[QueryMask], recording: Recording) -> list[KeyMeasure]:
    """Without recorded masks the scores are compared in order; 0 is that of an empty mask."""
    if name not in recording:
        return []
    scores = recording[name]
    our_scores = np.sort(np.array([item.score for item in ours]))
    return [(name, "floats", compare.numbers(our_scores, np.sort(scores[scores > 0])))]
