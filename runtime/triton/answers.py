"""Requests that came together, answered: those about one image share its scene, and their phrases a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import LOOKING, Scene
from xsam_edge.runtime.triton.requests import Ask
from xsam_edge.runtime.triton.scenes import Scenes

_log = logging.getLogger(__name__)

Answer = list[Result] | Exception

#: Tasks whose prompts a scene takes as a batch.
_BATCHED = ("refer", "reason")


def answer_all(asks: Sequence[Ask], scenes: Scenes) -> list[Answer]:
    """For each request its results, one a prompt, or the error that it alone has.

    An error is an XSamError, whose message is the user's, or any other that the runtime ought not to raise.
    """
    answers: dict[int, Answer] = {}
    for indices in _groups(range(len(asks)), lambda index: asks[index].picture.key):
        try:
            with scenes.scene(asks[indices[0]].picture) as (scene, kept):
                answers |= _answer_scene(scene, asks, indices, kept)
        except Exception as error:  # of an image, and all who asked about it
            answers |= dict.fromkeys(indices, _logged(error))
    return [answers[index] for index in range(len(asks))]


def _answer_scene(scene: Scene, asks: Sequence[Ask], indices: Sequence[int], kept: bool) -> dict[int, Answer]:
    answers: dict[int, Answer] = {}
    for batch in _groups(indices, lambda index: _batch_of(index, asks[index])):
        for index, answer in zip(batch, _answer_batch(scene, [asks[index] for index in batch]), strict=True):
            if isinstance(answer, list):
                answer = list(map(_without_looking, answer)) if kept else answer
                kept = True  # the first has the time of looking among its own, the others did not wait for it
            answers[index] = answer
    return answers


def _answer_batch(scene: Scene, asks: Sequence[Ask]) -> list[Answer]:
    together = replace(asks[0], prompts=tuple(prompt for ask in asks for prompt in ask.prompts))
    try:
        results = _ask(scene, together)
    except Exception as error:
        if len(asks) == 1:
            return [_logged(error)]
        return [answer for ask in asks for answer in _answer_batch(scene, [ask])]  # it may be the fault of one of them
    answers: list[Answer] = []
    for ask in asks:
        answers.append(results[: ask.answers])
        results = results[ask.answers :]
    return answers


def _ask(scene: Scene, ask: Ask) -> list[Result]:
    options: dict[str, Any] = dict(ask.options)
    match ask.task:
        case "refer":
            return scene.refer(ask.prompts, **options)
        case "reason":
            return scene.reason(ask.prompts, **options)
        case "chat":
            return [scene.chat(question, **options) for question in ask.prompts]
        case "describe":
            return [scene.describe(**options)]
        case "regions":
            return [scene.regions(boxes=ask.boxes, points=ask.points, **options)]
        case form:
            options |= {"instances": form == "instances", "semantic": form == "semantic"}
            return [scene.categories(ask.things, ask.stuff, **options)]


def _batch_of(index: int, ask: Ask) -> Hashable:
    """The same for requests that can be asked as one."""
    return (ask.task, tuple(sorted(ask.options.items()))) if ask.task in _BATCHED else index


def _groups(indices: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for index in indices:
        groups.setdefault(key(index), []).append(index)
    return list(groups.values())


def _without_looking(result: Result) -> Result:
    timings: Mapping[str, float] = {stage: ms for stage, ms in result.timings.items() if stage not in LOOKING}
    return replace(result, timings=timings)


def _logged(error: Exception) -> Exception:
    if not isinstance(error, XSamError):
        _log.exception("a request failed", exc_info=error)
    return error
