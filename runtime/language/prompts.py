"""What is asked of the model: one pinned question and answer per task.

A question is one of those the model was trained on (``dataset/map_fns/dataset_map_fns`` of the official code, which
draws one at random); pinning it makes results repeatable. Text that a user gives is normalised as there, and may
not contain the tokens that structure a prompt. This module knows text only; token ids are ``tokenizer``'s subject.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from xsam_edge.runtime import arguments
from xsam_edge.runtime.bundle.settings import PromptFormat
from xsam_edge.runtime.errors import InputError

Task = Literal["genseg", "ovseg", "refseg", "reaseg", "gcgseg", "intseg", "vgdseg", "chat"]

MARKERS = ("<image>", "<region>", "<p>", "</p>", "<SEG>", "<CLS>", "<|placeholder|>")
"""Text with a meaning to the chain, whatever the language model."""

_CATEGORIES = "Can you segment the image based on the following categories: {}? Please output the segmentation masks."
_REFER = "Can you segment {} in this image? Please generate the segmentation mask."
_REASON = "{} Please output the corresponding segmentation mask."
_REGIONS = (
    "Can you segment the image based on the following regions: {}? Please output the corresponding segmentation mask."
)
_DESCRIBE = (
    "Could you please give me a brief description of the image? "
    "Please respond with interleaved segmentation masks for the corresponding parts of the answer."
)
_ANSWER = "It is <SEG>."

QUESTIONS = (_CATEGORIES, _REFER, _REASON, _REGIONS, _DESCRIBE)
"""The pinned questions, with {} where the user's text goes."""


@dataclass(frozen=True)
class Prompt:
    """A prompt ready to be tokenised.

    ``text`` has one ``<image>``, a ``<region>`` per region, and each condition between ``<p>`` and ``</p>``.
    ``answer`` is the fixed answer (with the format's suffix) that may be appended instead of generated; None where
    only the model can answer. ``labels`` name the conditions in order, in the user's own words.
    """

    task: Task
    text: str
    answer: str | None
    labels: tuple[str, ...] = ()


def refer(phrase: str, form: PromptFormat, reserved: Collection[str] = (), *, bos: bool = False) -> Prompt:
    """Ask for the one thing that a short phrase names ("the ironing man"); lower-cased as in training.

    ``reserved``, here and below, holds further strings that user text may not contain: the control tokens of the
    language model (``Tokenizer.reserved``). ``bos`` puts the format's BOS first.

    Raises InputError for empty text and for text that contains a marker or a reserved string.
    """
    text = _checked(phrase, "phrase", reserved, lower=True)
    return _segment("refseg", _REFER.format(_tag(text)), (phrase,), form, bos)


def reason(sentence: str, form: PromptFormat, reserved: Collection[str] = (), *, bos: bool = False) -> Prompt:
    """Ask for what answers a question or fits a sentence ("What can be used to warm clothes?").

    Raises InputError as ``refer`` does.
    """
    text = _checked(sentence, "sentence", reserved)
    return _segment("reaseg", _REASON.format(_tag(text)), (sentence,), form, bos)


def categories(
    names: Sequence[str],
    form: PromptFormat,
    reserved: Collection[str] = (),
    *,
    task: Literal["genseg", "ovseg"] = "genseg",
    bos: bool = False,
) -> Prompt:
    """Ask for every pixel of the named categories, things and stuff, in the order given.

    Raises InputError as ``refer`` does, for an empty list, and for two names that read the same once normalised
    ("wall", "wall-other-merged"): their masks could not be told apart.
    """
    if isinstance(names, str):
        shown = arguments.found(names)
        raise InputError(f'categories must be a list of names, not the text {shown}; write ["person", "car"]')
    first: dict[str, str] = {}
    for name in names:
        text = _checked(name, "category", reserved, category=True)
        if text in first:
            one, other, both = map(arguments.found, (first[text], name, text))
            raise InputError(f"the categories {one} and {other} both read {both}; give each name once")
        first[text] = name
    if not first:
        raise InputError("no category was given; name at least one")
    return _segment(task, _CATEGORIES.format(", ".join(map(_tag, first))), tuple(names), form, bos)


def regions(count: int, form: PromptFormat, *, bos: bool = False) -> Prompt:
    """Ask for everything that resembles one of ``count`` regions.

    Raises InputError if ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"{count} regions were given; give at least one box, point or mask")
    return _regions("vgdseg", count, form, bos)


def interactive(form: PromptFormat, *, bos: bool = False) -> Prompt:
    """Ask for the one object that a region (a box, a point, a mask) points at."""
    return _regions("intseg", 1, form, bos)


def describe(form: PromptFormat, *, bos: bool = False) -> Prompt:
    """Ask for a caption with a mask for each of its phrases. The conditions are in the generated text."""
    return Prompt("gcgseg", _wrapped(_DESCRIBE, form, bos), None)


def chat(question: str, form: PromptFormat, reserved: Collection[str] = (), *, bos: bool = False) -> Prompt:
    """Ask anything about the image; the answer is text without a mask.

    Raises InputError as ``refer`` does.
    """
    return Prompt("chat", _wrapped(_checked(question, "question", reserved), form, bos), None)


def category_text(name: str) -> str:
    """Return a category as it is written in a prompt (``tag_categories`` of the official code).

    The suffixes of COCO's stuff names go, hyphens become spaces, letters small.
    """
    for suffix in ("-merged", "-other", "-stuff"):
        name = name.replace(suffix, "")
    return name.replace("-", " ").lower()


def _segment(task: Task, question: str, labels: tuple[str, ...], form: PromptFormat, bos: bool) -> Prompt:
    return Prompt(task, _wrapped(question, form, bos), _ANSWER + form.answer_suffix, labels)


def _regions(task: Task, count: int, form: PromptFormat, bos: bool) -> Prompt:
    labels = tuple(f"region {index + 1}" for index in range(count))
    return _segment(task, _REGIONS.format(", ".join([_tag("<region>")] * count)), labels, form, bos)


def _tag(phrase: str) -> str:
    return f"<p>{phrase}</p>"


def _wrapped(question: str, form: PromptFormat, bos: bool) -> str:
    # replace, not format: an instruction may hold other braces.
    return (form.bos if bos else "") + form.instruction.replace("{input}", (form.image_token + question).strip())


def _checked(text: str, what: str, reserved: Collection[str], *, lower: bool = False, category: bool = False) -> str:
    """Return the normalised text, checked before and after: lower-casing turns "<P>" into a marker."""
    if not isinstance(text, str):
        raise InputError(f"a {what} must be text, not {type(text).__name__}")
    shown, clean = arguments.found(text), text.strip()
    if category:
        clean = category_text(clean).strip()
    elif lower:
        clean = clean.lower()
    if not clean:
        raise InputError(f"the {what} {shown} is empty; say what to look for")
    for marker in (*MARKERS, *reserved):
        if marker in clean or marker in text:
            raise InputError(f"the {what} {shown} contains {marker!r}, which controls the model; leave it out")
    try:
        clean.encode()
    except UnicodeEncodeError:
        raise InputError(f"the {what} {shown} is not valid Unicode; check the encoding of the input") from None
    return clean
