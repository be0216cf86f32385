"""What a frame is asked, as the text of a parameter or a topic: a phrase, or a small JSON object.

A text that does not begin with a brace is a phrase to look for. An object has one task and that task's options:

    {"refer": "the red cup"}, {"refer": ["the red cup", "the door"], "threshold": 0.6, "several": true}
    {"reason": "What can one drink from?"}
    {"things": ["person", "car"], "stuff": ["road"], "form": "panoptic"}        form: panoptic, instances or semantic
    {"boxes": [[40, 60, 200, 310]], "points": [[120, 80]], "similar": true}     pixels of the image
    {"describe": true, "max_new_tokens": 100}
    {"chat": "Is the door open?"}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.postprocess.readers import checked_threshold
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

LONGEST = 16384
"""Characters of a prompt: more than any context holds, so that what never ends is not parsed."""

Ask = Callable[[Scene], "Result | Sequence[Result]"]
Build = Callable[[LanguageModel], Sequence[prompts.Prompt]]  # what the language model would be asked

_TASKS = ("refer", "reason", "things", "stuff", "boxes", "points", "describe", "chat")
_SHOWN = 'a phrase, or an object such as {"refer": "the cup"} or {"things": ["person"], "stuff": ["road"]}'
# Option -> the tasks that it belongs to.
_OPTIONS = {
    "several": ("refer", "reason"),
    "form": ("categories",),
    "similar": ("regions",),
    "threshold": ("refer", "reason", "categories", "regions", "describe"),
    "max_new_tokens": ("describe", "chat"),
}
_FORMS = ("panoptic", "instances", "semantic")


@dataclass(frozen=True)
class FramePrompt:
    """``ask`` puts it to a scene. ``task`` is "refer", "reason", "categories", "regions", "describe" or "chat".

    ``names`` are those of the categories, things before stuff, or the phrases; () where only the model knows.
    Two prompts are equal when their ``text``, as it was given, is.
    """

    text: str
    task: str = field(compare=False)
    names: tuple[str, ...] = field(compare=False)
    ask: Ask = field(compare=False, repr=False)
    _build: Build = field(compare=False, repr=False)

    def check(self, language: LanguageModel, capacity: int) -> None:
        """Whether a model can be asked this: no marks that control it, and room in its context.

        Raises:
            InputError: text that the model's prompts may not contain, or two categories that read the same.
            ContextLengthError: more than ``capacity`` tokens, the image's included.
        """
        for prompt in self._build(language):
            rows = len(language.layout(language.tokenizer.encode_prompt(prompt.text)))
            if rows >= capacity:
                raise ContextLengthError(
                    f"the prompt has {rows} tokens with the image, and the context {capacity}; give a shorter one"
                )


def parse(text: object) -> FramePrompt:
    """Read a prompt.

    Raises:
        InputError: empty or endless text, no JSON object of this form, no task or two, an unknown key, or a value of
            another type or out of range.
    """
    given = arguments.text("the prompt", text)
    if len(given) > LONGEST:
        raise InputError(f"the prompt has {len(given)} characters; expected {LONGEST} at most")
    if not given.strip():
        raise InputError(f"the prompt is empty; give {_SHOWN}")
    if not given.lstrip().startswith("{"):
        return _referring("refer", given, given.strip(), {})
    try:
        wanted = json.loads(given, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise InputError(f"the prompt is nested too deeply; give {_SHOWN}") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the prompt begins with a brace and is no JSON ({error}); give {_SHOWN}") from None
    return _of_object(given, wanted)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if [other for other, _ in pairs].count(key) > 1)
        raise InputError(f"the prompt has {arguments.found(twice)} twice; give each key once")
    return found


def _of_object(text: str, wanted: Mapping[str, Any]) -> FramePrompt:
    for key in wanted:
        if key not in (*_TASKS, *_OPTIONS):
            known = ", ".join((*_TASKS, *_OPTIONS))
            raise InputError(f"the prompt has the key {arguments.found(key)}; expected some of {known}")
    tasks = dict.fromkeys(_task_of(key) for key in _TASKS if key in wanted)
    if len(tasks) != 1:
        fault = f"asks for {' and '.join(tasks)} at once" if tasks else "has no task"
        raise InputError(f"the prompt {fault}; give one of refer, reason, things/stuff, boxes/points, describe, chat")
    (task,) = tasks
    for name, owners in _OPTIONS.items():
        if name in wanted and task not in owners:
            raise InputError(f"{name} does not apply to {task}, only to {', '.join(owners)}")
    chosen = _chosen(wanted)
    if task in ("refer", "reason"):
        return _referring(task, text, wanted[task], chosen)
    return {"categories": _categories, "regions": _regions, "describe": _describe, "chat": _chat}[task](
        text, wanted, chosen
    )


def _task_of(key: str) -> str:
    return {"things": "categories", "stuff": "categories", "boxes": "regions", "points": "regions"}.get(key, key)


def _chosen(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The options, checked, as the methods of a scene take them."""
    chosen: dict[str, Any] = {}
    if "threshold" in wanted:
        chosen["threshold"] = checked_threshold(wanted["threshold"])
    if "max_new_tokens" in wanted:
        chosen["max_new_tokens"] = arguments.count("max_new_tokens", wanted["max_new_tokens"], 1)
    for name in ("several", "similar"):
        if name in wanted:
            chosen[name] = arguments.flag(name, wanted[name])
    if "form" in wanted:
        form = arguments.choice("form", wanted["form"], *_FORMS)
        chosen |= {"instances": form == "instances", "semantic": form == "semantic"}
    return chosen


def _referring(task: str, text: str, value: object, chosen: Mapping[str, Any]) -> FramePrompt:
    expected = "a phrase, or a list of phrases"
    given = [value] if isinstance(value, str) else arguments.items(task, value, expected)
    phrases = [_said(task, phrase) for phrase in given]
    if not phrases:
        raise arguments.wrong(task, value, expected)
    make = prompts.refer if task == "refer" else prompts.reason

    def ask(scene: Scene) -> Sequence[Result]:
        return (scene.refer if task == "refer" else scene.reason)(phrases, **chosen)

    def build(language: LanguageModel) -> list[prompts.Prompt]:
        return [make(phrase, language.settings.prompt, language.tokenizer.reserved) for phrase in phrases]

    return FramePrompt(text, task, tuple(phrases), ask, build)


def _categories(text: str, wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> FramePrompt:
    lists = [
        [_said(key, name) for name in arguments.items(key, wanted.get(key, []), 'a list of names, such as ["person"]')]
        for key in ("things", "stuff")
    ]
    names = [name for part in lists for name in part]
    if not names:
        raise InputError("the prompt names no category; give at least one in things or stuff")

    def ask(scene: Scene) -> Result:
        return scene.categories(*lists, **chosen)

    def build(language: LanguageModel) -> list[prompts.Prompt]:
        return [prompts.categories(names, language.settings.prompt, language.tokenizer.reserved)]

    return FramePrompt(text, "categories", tuple(names), ask, build)


def _regions(text: str, wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> FramePrompt:
    boxes, points = (
        [arguments.reals(f"one of {key}", item, size, example) for item in _listed(key, wanted.get(key, []), example)]
        for key, size, example in (("boxes", 4, "[x0, y0, x1, y1] in pixels"), ("points", 2, "[x, y] in pixels"))
    )
    count = len(boxes) + len(points)
    if not count:
        raise InputError("the prompt has no region; give at least one in boxes or points")
    similar = chosen.get("similar", count > 1)
    if count > 1 and not similar:
        raise InputError(
            f"the prompt has {count} regions and similar is false; one object is asked for with one region"
        )

    def ask(scene: Scene) -> Result:
        return scene.regions(boxes=boxes, points=points, **chosen)

    def build(language: LanguageModel) -> list[prompts.Prompt]:
        form = language.settings.prompt
        return [prompts.regions(count, form) if similar else prompts.interactive(form)]

    return FramePrompt(text, "regions", tuple(f"region {number}" for number in range(1, count + 1)), ask, build)


def _describe(text: str, wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> FramePrompt:
    if not arguments.flag("describe", wanted["describe"]):
        raise InputError('describe is false, which asks for nothing; write {"describe": true}')

    def ask(scene: Scene) -> Result:
        return scene.describe(**chosen)

    return FramePrompt(text, "describe", (), ask, lambda language: [prompts.describe(language.settings.prompt)])


def _chat(text: str, wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> FramePrompt:
    question = _said("chat", wanted["chat"])

    def ask(scene: Scene) -> Result:
        return scene.chat(question, **chosen)

    def build(language: LanguageModel) -> list[prompts.Prompt]:
        return [prompts.chat(question, language.settings.prompt, language.tokenizer.reserved)]

    return FramePrompt(text, "chat", (), ask, build)


def _listed(key: str, value: object, example: str) -> list[Any]:
    return arguments.items(key, value, f"a list of {example}")


def _said(key: str, value: object) -> str:
    said = arguments.text(f"what {key} asks for", value)
    if not said.strip():
        raise InputError(f"{key} is empty; say what to look for")
    return said
