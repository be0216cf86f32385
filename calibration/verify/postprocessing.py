"""Recorded results of post-processing against ours.

Each ``post`` of a recording is the task's own post-processing, each ``post[...]`` the same with other options, which
are written into the name: ``pan_t0.5_o0.8_m0.5`` is the panoptic form with a score threshold of 0.5, an overlap
threshold of 0.8 and a mask threshold of 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.verify import compare
from xsam_edge.calibration.verify.compare import KeyMeasure
from xsam_edge.calibration.verify.instances import VOID, measure_instances
from xsam_edge.calibration.verify.reference import Array, Recording
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess.instances import instance_masks
from xsam_edge.runtime.postprocess.interactive import interactive_mask
from xsam_edge.runtime.postprocess.panoptic import Panoptic, PanopticPiece, panoptic_segments
from xsam_edge.runtime.postprocess.refer import generalised_mask, grounded_masks, referred_mask
from xsam_edge.runtime.postprocess.semantic import semantic_map

Form = Literal["panoptic", "instance", "semantic", "refer", "generalised", "grounded", "interactive"]
Float = npt.NDArray[np.float32]

_BY_TASK: Mapping[str, Form] = {
    "refseg": "refer", "reaseg": "refer", "grefseg": "generalised", "gcgseg": "grounded", "intseg": "interactive",
    "vgdseg": "instance",
}  # fmt: skip
_SEVERAL_FORMS = ("genseg", "ovseg")
_BY_NAME: Mapping[str, Form] = {"pan": "panoptic", "ins": "instance", "sem": "semantic", "grefseg": "generalised"}
_OPTION = re.compile(r"([a-z])(\d*\.?\d+)")


@dataclass(frozen=True)
class RecordedOptions:
    """One recorded post-processing. ``things`` are class indices, None where all classes count as things."""

    key: str
    form: Form
    threshold: float
    overlap: float
    mask: float
    things: frozenset[int] | None
    classes: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """What post-processing starts from, and the bundle's choices that it depends on."""

    class_logits: Float  # [Q, C + 1]
    mask_logits: Float  # [Q, h, w]
    frame: Frame
    match: Literal["box", "mask"]
    semantic_resize: Literal["logits", "evidence"]
    region: npt.NDArray[np.bool_] | None  # of an interactive prompt, at the image's size


def recorded_options(recording: Recording, tasks: Mapping[str, Any]) -> Iterator[RecordedOptions]:
    """The post-processings that a recording holds results of; ``tasks`` is what ``config.json`` says of its task."""
    classes = recording.meta.get("classes") or []
    for key, facts in recording.meta.items():
        if isinstance(facts, dict) and (key == "post" or key.startswith("post[")):
            yield _options(key, facts, recording, tasks, classes)


def _options(
    key: str, facts: Mapping[str, Any], recording: Recording, tasks: Mapping[str, Any], classes: Sequence[str]
) -> RecordedOptions:
    own = recording.text("postprocess").removeprefix("img_")
    task = _task(recording, own)
    name = key[5:-1]
    first = name.split("_")[0]
    named = {part[1]: float(part[2]) for part in map(_OPTION.fullmatch, name.split("_")) if part}
    if first in _BY_NAME:
        form = _BY_NAME[first]
    elif task in _BY_TASK:
        form = _BY_TASK[task]
    elif suffix := re.search(r"(pan|ins|sem)\w*\)?$", own):
        form = _BY_NAME[suffix[1]]
    elif f"{key}.inst.scores" in recording:
        form = "instance"
    else:
        form = "panoptic" if "segments_info" in facts else "semantic"
    # The official options of open-vocabulary segmentation keep every segment; 0.6 is that of generalised refseg.
    usual = 0.6 if form == "generalised" else 0.0 if task == "ovseg" else 0.5
    things = None
    if classes and not (form == "instance" and recording.text("branch").startswith("aaai")):
        things = frozenset(index for index, label in enumerate(classes) if label in _things(recording, tasks, classes))
    return RecordedOptions(
        key, form, named.get("t", usual), named.get("o", 0.8), named.get("m", 0.5), things, len(classes)
    )


def _task(recording: Recording, own: str) -> str:
    """The official name of a recording's task ("refseg"); its post-processing ("grefseg", "genseg(pan)") knows best.

    What a recording calls itself may be the name of its file, with anything behind the task.
    """
    called = (own, *(recording.text(key).removeprefix("img_") for key in ("official_task", "task")))
    names = [re.split(r"\W|_", name)[0] for name in called if name]
    return next((name for name in names if name in _BY_TASK or name in _SEVERAL_FORMS), "")


def _asked(tasks: Mapping[str, Any]) -> tuple[set[str], set[str]] | None:
    """Things and stuff of a prompt ("ins: person; sem: road", or two lists)."""
    lists = tasks.get("classes")
    if isinstance(lists, list) and len(lists) == 2 and all(isinstance(part, list) for part in lists):
        return set(lists[0]), set(lists[1])
    parts = dict(re.findall("(ins|sem):([^;]*)", str(tasks.get("prompt", ""))))
    names = {kind: {label.strip() for label in part.split(",")} for kind, part in parts.items()}
    return (names.get("ins", set()), names.get("sem", set())) if names else None


def _things(recording: Recording, tasks: Mapping[str, Any], classes: Sequence[str]) -> set[str]:
    """Which classes are things: as asked for, unless that was another prompt; else as results tell."""
    asked = _asked(tasks)
    if asked and asked[0] | asked[1] <= set(classes):
        return asked[0]
    things: set[str] = set()
    for facts in (value for key, value in recording.meta.items() if key.startswith("post") and isinstance(value, dict)):
        infos = facts.get("segments_info")
        for info in infos if isinstance(infos, list) else []:
            index = info.get("category_id" if info.get("isthing") else "label_id")
            if isinstance(index, int) and index < len(classes):
                things.add(classes[index])
    return things


def nearby(options: RecordedOptions, distance: float) -> Iterator[RecordedOptions]:
    """The same options with a threshold moved by ``distance``: the other side of a score that lies this close."""
    for name in ("threshold", "overlap") if options.form == "panoptic" else ("threshold",):
        for step in (-distance, distance):
            moved = min(1.0, max(0.0, getattr(options, name) + step))
            yield replace(options, **{name: moved})


def measure(options: RecordedOptions, decoded: Decoded, recording: Recording) -> list[KeyMeasure]:
    """Run one post-processing and measure each of its recorded keys."""
    c, m, frame = decoded.class_logits, decoded.mask_logits, decoded.frame
    infos = recording.meta[options.key].get("segments_info")
    if options.form == "panoptic":
        stuff = frozenset(range(options.classes)) - (options.things or frozenset())
        panoptic = panoptic_segments(c, m, frame, stuff, options.threshold, options.overlap, options.mask)
        return _panoptic(options.key, panoptic, infos, recording)
    if options.form == "semantic":
        labels = semantic_map(c, m, frame, decoded.semantic_resize).label_map
        return _map(options.key, labels, recording)
    if options.form == "instance":
        instances = instance_masks(c, m, frame, options.threshold, options.things)
        return measure_instances(options.key, instances, recording)
    if options.form == "grounded":
        grounded = grounded_masks(c, m, frame, options.mask)
        painted = _paint([item.mask for item in grounded], [item.label_id + 1 for item in grounded], frame, VOID)
        return [*_scores(options.key, [item.score for item in grounded], infos), *_map(options.key, painted, recording)]
    if options.form == "interactive":
        if decoded.region is None:
            return []
        one = interactive_mask(c, m, frame, decoded.region, decoded.match, options.threshold)
    elif options.form == "generalised":
        one = generalised_mask(c, m, frame, options.threshold, options.mask)
    else:
        one = referred_mask(c, m, frame, options.mask)
    masks: list[KeyMeasure] = []
    if (key := f"{options.key}.segmentation") in recording:
        masks = [(key, "masks", compare.masks(one.mask, recording[key] == 1))]
    return [*_scores(options.key, [one.score], [infos] if infos else None), *masks]


def _map(key: str, ours: Array, recording: Recording) -> list[KeyMeasure]:
    key += ".segmentation"
    return [(key, "maps", compare.label_maps(ours, recording[key]))] if key in recording else []


def _scores(key: str, ours: Sequence[float], infos: Sequence[Mapping[str, Any]] | None) -> list[KeyMeasure]:
    recorded = [info["score"] for info in infos or ()]
    return (
        [(f"{key}.scores", "floats", compare.numbers(np.array(ours), np.array(recorded)))] if recorded or ours else []
    )


def _paint(
    masks: Sequence[npt.NDArray[np.bool_]], values: Sequence[int], frame: Frame, void: int
) -> npt.NDArray[np.int64]:
    painted = np.full(frame.image_size, void, np.int64)
    for mask, value in zip(masks, values, strict=True):
        painted[mask] = value
    return painted


def _panoptic(
    key: str, panoptic: Panoptic, infos: Sequence[Mapping[str, Any]], recording: Recording
) -> list[KeyMeasure]:
    """The official code may give two segments one id, so that ours are renamed before the maps are compared."""
    labels = [piece.label_id for piece in panoptic.pieces]
    recorded = [info["category_id"] for info in infos]
    measures: list[KeyMeasure] = [(f"{key}.labels", "ids", compare.numbers(np.array(labels), np.array(recorded)))]
    measures += _scores(key, [piece.score for piece in panoptic.pieces], infos)
    if labels != recorded:
        # Segments that one side alone has keep ids of their own, and count as missed.
        names = {piece.segment_id: -piece.segment_id for piece in panoptic.pieces}
        names |= {piece.segment_id: info["id"] for piece, info in _pair(panoptic.pieces, infos)}
    else:
        names = {piece.segment_id: info["id"] for piece, info in zip(panoptic.pieces, infos, strict=True)}
    lookup = np.zeros(len(panoptic.segments) + 1, np.int64)
    for ours, theirs in names.items():
        lookup[ours] = theirs
    return [*measures, *_map(key, lookup[panoptic.id_map], recording)]


def _pair(
    pieces: Sequence[PanopticPiece], infos: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[PanopticPiece, Mapping[str, Any]]]:
    left = list(infos)
    for piece in pieces:
        same = [info for info in left if info["category_id"] == piece.label_id]
        if same:
            info = min(same, key=lambda info: abs(info["score"] - piece.score))
            left.remove(info)
            yield piece, info
