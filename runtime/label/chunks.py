"""More names than a prompt holds: asked in parts, and what any part found once more together.

The answer is an approximation. Names that stand in one prompt compete for every query of the mask decoder, and a model
that is not asked for what is there gives it another name. So the names that were found in parts are asked together, as
far as a prompt holds them: what is wrong then is a name that its part did not find. Where they are too many as well,
answers of the parts are merged by score: masks of things that overlap are taken for one thing, and a pixel that several
segments claim is the best one's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.errors import ContextLengthError
from xsam_edge.runtime.label.painting import paint
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.results.iou import box_iou, mask_iou
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.scene import Scene

SAME_THING = 0.6  # IoU from which on two masks are one thing
KEPT = 0.8  # share of its pixels that a thing must win, as of the official competition between queries
KEPT_STUFF = 0.6  # the same of stuff, which things of other parts are cut out of
MOST_NAMES = 150  # of a part: as many as the longest list of categories that X-SAM was evaluated with, ADE20K's

_log = logging.getLogger(__name__)

Rows = Callable[[Sequence[str]], int]
"""Rows that the prompt for names, with its answer, takes of the context."""


@dataclass(frozen=True)
class Part:
    """Names that are asked together, and their places among all names, things first."""

    things: tuple[str, ...]
    stuff: tuple[str, ...]
    places: tuple[int, ...]


def rows_of(language: LanguageModel) -> Rows:
    """What prompts take of a model's context; raises InputError for a name that it cannot be asked."""
    form, tokenizer = language.settings.prompt, language.tokenizer

    def rows(names: Sequence[str]) -> int:
        prompt = prompts.categories(names, form, tokenizer.reserved)
        return len(language.layout(tokenizer.encode_prompt(prompt.text))) + len(tokenizer.encode(prompt.answer or ""))

    return rows


def parts_of(language: LanguageModel, things: Sequence[str], stuff: Sequence[str]) -> list[Part]:
    """The names in as few parts as fit a model's context; says so where they are several.

    Raises:
        InputError: a name that the model cannot be asked.
    """
    divided = parts(things, stuff, rows_of(language), language.pipeline.cache.capacity)
    if len(divided) > 1:
        count = len(things) + len(stuff)
        _log.warning("%d names are asked in %d parts; the merged answers are approximate", count, len(divided))
    return divided


def parts(things: Sequence[str], stuff: Sequence[str], rows: Rows, capacity: int, most: int = MOST_NAMES) -> list[Part]:
    """Names in parts of about one size, as few as fit, in their order.

    Args:
        things: names.
        stuff: names.
        rows: what a prompt for names takes.
        capacity: of the context, in rows.
        most: names of a part.

    Raises:
        ContextLengthError: a name that does not fit by itself.
    """
    names = [*things, *stuff]
    count = -(-len(names) // most)
    while True:
        edges = [round(number * len(names) / count) for number in range(count + 1)]
        spans = list(pairwise(edges))
        taken = [rows(names[start:stop]) for start, stop in spans]
        if max(taken) <= capacity:
            break
        if count == len(names):
            raise ContextLengthError(
                f"the category {names[taken.index(max(taken))]!r} takes {max(taken)} tokens with the image, and the "
                f"context holds {capacity}; give a shorter name, or a longer context"
            )
        # By how much the longest is too long, image and all: rarely too many parts, never fewer than it takes.
        count = min(len(names), max(count + 1, count * max(taken) // (2 * capacity)))
    divided = []
    for start, stop in spans:
        border = min(max(len(things) - start, 0), stop - start)
        part = names[start:stop]
        divided.append(Part(tuple(part[:border]), tuple(part[border:]), tuple(range(start, stop))))
    return divided


def categories(scene: Scene, divided: Sequence[Part], **options: Any) -> Result:
    """``Scene.categories`` of all names of the parts, with its ``options``; ``label_id`` counts through all parts.

    ``instances`` holds for all parts together: without it, names of things alone give instances, all else a panoptic
    answer.
    """
    if len(divided) == 1:
        return scene.categories(divided[0].things, divided[0].stuff, **options)
    if options.get("instances") is None:
        options["instances"] = not any(part.stuff for part in divided)
    options["semantic"] = False
    results = [scene.categories(part.things, part.stuff, **options) for part in divided]
    found = _found(results, divided)
    if found.places:
        rows, capacity = rows_of(scene.language), scene.language.pipeline.cache.capacity
        if len(parts(found.things, found.stuff, rows, capacity)) == 1:
            last = merge([scene.categories(found.things, found.stuff, **options)], [found])
            return _with_work(last, [*results, last])
    return merge(results, divided)


def _found(results: Sequence[Result], divided: Sequence[Part]) -> Part:
    """The names that have a segment."""
    named: dict[int, tuple[str, bool]] = {}
    for result, part in zip(results, divided, strict=True):
        names = (*part.things, *part.stuff)
        for segment in result.segments:
            if segment.label_id < len(names):
                named[part.places[segment.label_id]] = names[segment.label_id], segment.label_id < len(part.things)
    places = tuple(sorted(named))
    things, stuff = (tuple(named[place][0] for place in places if named[place][1] is kind) for kind in (True, False))
    return Part(things, stuff, places)


def merge(results: Sequence[Result], divided: Sequence[Part]) -> Result:
    """One answer of those to the parts of a list, panoptic or instances as they are.

    Segments are taken best first, of equals those of the first part. A thing whose mask overlaps that of one that was
    taken, from another part, by an IoU above ``SAME_THING`` is the same thing, and left out. In a panoptic answer each
    pixel is then that of the first segment that claims it; one that is left with less than ``KEPT`` of its pixels,
    stuff with less than ``KEPT_STUFF``, is left out too.
    """
    found = [
        (number, _relabelled(segment, part.places[segment.label_id]))
        for number, (result, part) in enumerate(zip(results, divided, strict=True))
        for segment in result.segments
        if segment.label_id < len(part.places)  # a phrase of the model's own is none of the names
    ]
    found.sort(key=lambda item: -item[1].score)
    unique: list[tuple[int, Segment]] = []
    for number, segment in found:
        if not segment.is_thing or not _is_among(segment, [s for other, s in unique if other != number]):
            unique.append((number, segment))
    segments, id_map = [segment for _, segment in unique], None
    if any(result.id_map is not None for result in results):
        segments, id_map = _compete(segments, results[0].image_size)
    answered = [result for result in results if result.answered]
    merged = replace(
        (answered or results)[0],
        segments=tuple(segments),
        id_map=id_map,
        reason="" if segments else (answered or results)[0].reason,
    )
    return _with_work(merged, results)


def _with_work(result: Result, all_results: Sequence[Result]) -> Result:
    """A result with the time and the forwards of all that led to it; an image is looked at once."""
    timings: dict[str, float] = {}
    for one in all_results:
        for stage, taken in one.timings.items():
            looked = stage in ("preprocess", "image_encoder")
            timings[stage] = taken if looked else timings.get(stage, 0.0) + taken
    return replace(result, timings=timings, llm_forwards=sum(one.llm_forwards for one in all_results))


def _relabelled(segment: Segment, label_id: int) -> Segment:
    """The segment with another number of its label, and a mask of its own."""
    return Segment(
        segment.mask, segment.score, segment.label, label_id, segment.box, segment.area, segment.is_thing, segment.id
    )


def _is_among(segment: Segment, taken: Sequence[Segment]) -> bool:
    return any(
        other.is_thing and box_iou(segment.box, other.box) > 0 and mask_iou(segment.mask, other.mask) > SAME_THING
        for other in taken
    )


def _compete(segments: Sequence[Segment], size: tuple[int, int]) -> tuple[list[Segment], NDArray[np.int32]]:
    owner, kept = paint(
        [segment.mask for segment in segments], size, [KEPT if item.is_thing else KEPT_STUFF for item in segments]
    )
    owner.setflags(write=False)
    left = []
    for number, place in enumerate(kept, 1):
        segment, mask = segments[place], owner == number
        whole = Segment.from_mask(mask, segment.score, segment.label, segment.label_id, segment.is_thing, number)
        left.append(
            Segment.from_map(
                owner, number, whole.box, whole.area, whole.score, whole.label, whole.label_id, whole.is_thing, number
            )
        )
    return left, owner
