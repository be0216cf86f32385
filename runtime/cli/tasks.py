"""The options of ``xsam-segment`` as one question that can be asked of any scene."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.label import chunks
from xsam_edge.runtime.label.categories import everything, things_and_stuff
from xsam_edge.runtime.postprocess.readers import Threshold, checked_threshold
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.sinks.bag import is_bag


@dataclass(frozen=True)
class Question:
    """``ask`` puts it to a scene, or several questions at once; ``segments`` says whether answers have masks.

    ``texts`` are what was asked in words, one for each result; of other questions there is one None. ``parts`` tells of
    a scene in how many parts its names are asked: answers that are merged of several are approximate.
    """

    ask: Callable[[Scene], Result | Sequence[Result]]
    segments: bool = True
    texts: tuple[str | None, ...] = (None,)
    parts: Callable[[Scene], int] = lambda _scene: 1


_SEGMENTING = ("refer", "reason", "things and stuff", "everything", "regions", "describe")
# Option -> the tasks that it belongs to.
_BELONGS = {
    "form": ("things and stuff", "everything"),
    "similar": ("regions",),
    "several": ("refer", "reason"),
    "append_answer": ("refer", "reason", "things and stuff", "everything", "regions"),
    "threshold": ("refer", "reason", "things and stuff", "everything", "regions", "describe"),
    "max_new_tokens": ("describe", "chat"),
    "output": _SEGMENTING,
    "save_video": _SEGMENTING,
    "track": _SEGMENTING,
    "overwrite": _SEGMENTING,
}


def question(options: argparse.Namespace) -> Question:
    """Read the task and its options.

    Raises:
        InputError: no task or several, an option of another task, or a value that cannot be read.
    """
    chosen = {
        "refer": options.refer is not None,
        "reason": options.reason is not None,
        "things and stuff": options.things is not None or options.stuff is not None,
        "everything": options.everything is not None,
        "regions": bool(options.box or options.point or options.mask),
        "describe": options.describe,
        "chat": options.chat is not None,
    }
    tasks = [name for name, is_chosen in chosen.items() if is_chosen]
    if len(tasks) != 1:
        fault = f"{' and '.join(tasks)} were given together" if tasks else "no task was given"
        raise InputError(
            f"{fault}; choose one of --refer, --reason, --things/--stuff, --everything, --box/--point/--mask, "
            "--describe, --chat"
        )
    (task,) = tasks
    told = set()  # what takes words as well
    if options.rerun is not None or options.save_bag is not None:
        told = {"overwrite"}
    if options.output is not None and is_bag(options.output):
        told = {"overwrite", "output"}
    for name, owners in _BELONGS.items():
        if getattr(options, name) not in (None, False) and task not in owners and name not in told:
            flag = f"--{options.form}" if name == "form" else "--" + name.replace("_", "-")
            raise InputError(f"{flag} does not apply to {task}, only to {', '.join(owners)}")
    return _READERS[task](options)


def read_threshold(text: str) -> Threshold:
    """The value of ``--threshold``. Raises InputError for another."""
    try:
        return checked_threshold(text if text == "official" else float(text))
    except ValueError:
        raise InputError(f"--threshold is {text!r}; expected a number from 0 to 1, or 'official'") from None


def _common(options: argparse.Namespace) -> dict[str, Any]:
    chosen: dict[str, Any] = {"answer": "append" if options.append_answer else "greedy"}
    if options.threshold is not None:
        chosen["threshold"] = read_threshold(options.threshold)
    return chosen


def _refer(options: argparse.Namespace) -> Question:
    texts, chosen = _texts(options.refer, "--refer"), _common(options)
    return Question(lambda scene: scene.refer(_one_or_all(texts), several=options.several, **chosen), texts=texts)


def _reason(options: argparse.Namespace) -> Question:
    texts, chosen = _texts(options.reason, "--reason"), _common(options)
    return Question(lambda scene: scene.reason(_one_or_all(texts), several=options.several, **chosen), texts=texts)


def _categories(options: argparse.Namespace) -> Question:
    things, stuff = category_names(options.things, "--things"), category_names(options.stuff, "--stuff")
    chosen = _common(options)
    if options.form is not None:
        chosen |= {"instances": options.form == "instances", "semantic": options.form == "semantic"}
    return Question(lambda scene: scene.categories(things, stuff, **chosen))


def _everything(options: argparse.Namespace) -> Question:
    if options.form == "semantic":
        raise InputError("--semantic does not apply to everything, only to things and stuff")
    things, stuff = things_and_stuff(everything(options.everything))
    chosen = _common(options)
    if options.form is not None:
        chosen["instances"] = options.form == "instances"
    parts: list[chunks.Part] = []

    def divided(scene: Scene) -> list[chunks.Part]:
        if not parts:
            parts.extend(chunks.parts_of(scene.language, things, stuff))
        return parts

    return Question(
        lambda scene: chunks.categories(scene, divided(scene), **chosen), parts=lambda scene: len(divided(scene))
    )


def _regions(options: argparse.Namespace) -> Question:
    boxes = [_numbers(text, 4, "--box") for text in options.box]
    points = [_numbers(text, 2, "--point") for text in options.point]
    masks = [_mask(path) for path in options.mask]
    chosen = _common(options)
    if options.similar:
        chosen["similar"] = True
    return Question(lambda scene: scene.regions(boxes=boxes, points=points, masks=masks, **chosen))


def _mask(path: Path) -> Path | tuple[Path, int]:
    """A file, or with :ID behind it the pixels of an id."""
    name, colon, chosen = path.name.rpartition(":")
    if not name or not colon or not chosen.isdecimal() or path.exists():
        return path
    return path.with_name(name), int(chosen)


def _describe(options: argparse.Namespace) -> Question:
    chosen: dict[str, Any] = {} if options.max_new_tokens is None else {"max_new_tokens": options.max_new_tokens}
    if options.threshold is not None:
        chosen["threshold"] = read_threshold(options.threshold)
    return Question(lambda scene: scene.describe(**chosen))


def _chat(options: argparse.Namespace) -> Question:
    texts = _texts(options.chat, "--chat")
    chosen = {} if options.max_new_tokens is None else {"max_new_tokens": options.max_new_tokens}
    return Question(lambda scene: [scene.chat(text, **chosen) for text in texts], segments=False, texts=texts)


_READERS: dict[str, Callable[[argparse.Namespace], Question]] = {
    "refer": _refer,
    "reason": _reason,
    "things and stuff": _categories,
    "everything": _everything,
    "regions": _regions,
    "describe": _describe,
    "chat": _chat,
}


def _texts(texts: Sequence[str], option: str) -> tuple[str, ...]:
    if not all(text.strip() for text in texts):
        raise InputError(f"{option} is empty; say what to look for")
    return tuple(texts)


def _one_or_all(texts: tuple[str, ...]) -> Any:
    return texts[0] if len(texts) == 1 else texts


def category_names(given: Sequence[str] | None, option: str) -> list[str]:
    """The names of an option that may be given several times. Raises InputError for an empty one."""
    return [name for text in given or () for name in _names_of(text, option)]


def _names_of(text: str, option: str) -> list[str]:
    """The names of one option: with commas between, or the lines of a file, in which a comma belongs to a name."""
    if text == "@":
        raise InputError(f"{option} '@' names no file; is a variable of the shell not set?")
    if text.startswith("@"):
        try:
            lines = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
        except ValueError as error:  # bytes that are no text, and a path that is none
            raise InputError(f"{option} {text!r} cannot be read ({error}); give a text file in UTF-8") from None
        if not (names := [line.strip() for line in lines if line.strip()]):
            raise InputError(f"{option} {text!r} holds no name; write one a line")
        return names
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"{option} {text!r} has an empty name; write names with commas between, e.g. person,car")
    return names


def _numbers(text: str, count: int, option: str) -> list[float]:
    example = {"--box": "40,60,200,310", "--point": "120,80"}[option]
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{option} {text!r} is not {count} numbers with commas between, e.g. {option} {example}")
    return values
