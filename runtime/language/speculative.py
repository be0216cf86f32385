"""Speculative decoding: answers without steps of decoding where the model says what was expected.

A draft is what an answer will probably be. It is put behind the prompt, and the one forward that reads the prompt also
tells the model's own choice at every position of the draft. Choices are taken as far as the draft agrees with them,
and the first that differs is taken too; what was computed beyond is dropped. The outcome is that of greedy decoding
whatever the draft (the greedy case of speculative decoding, arXiv 2211.17192).

A task whose answer has a known form is expected to be answered as it was last time. Where an answer goes its own way,
and in captions and chat, the next few ids are looked up: what followed the last ones when they were said before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xsam_edge.runtime.language.tokenizer import Ids

NO_DRAFT: Ids = np.empty(0, np.int64)

# Longer answers are not of a known form, and a draft that is wrong costs its length.
MAX_DRAFT = 64

# Ids that are looked up at a time, and how many of the last ones must have come before.
LOOKUP_LENGTH = 5
_MATCHED = (3, 2, 1)


def accept(
    draft: Sequence[int] | Ids,
    chosen: Sequence[int] | Ids,
    stops: Callable[[list[int]], bool],
    generated: Sequence[int] = (),
) -> list[int]:
    """Return the ids that greedy decoding gives behind ``generated``, as far as one forward over a draft tells them.

    ``chosen`` [n + 1] are the model's choices before and behind each of the n ids of ``draft``; ``stops`` tells
    whether an answer is at its end. The last id that is returned was never read by the model, as in decoding.
    """
    ids = [int(chosen[0])]
    for drafted, choice in zip(draft, chosen[1:], strict=True):
        if ids[-1] != drafted or stops([*generated, *ids]):
            break
        ids.append(int(choice))
    return ids


def prompt_lookup(generated: Sequence[int], earlier: Sequence[int]) -> list[int]:
    """Return what followed the last ids of ``generated`` when they came before, in it or in an ``earlier`` answer.

    Prompt lookup decoding, over answers instead of prompts: https://github.com/apoorvumang/prompt-lookup-decoding.
    """
    known = [*earlier, *generated]
    for count in _MATCHED:
        tail = known[-count:]
        for start in range(len(known) - count - 1, -1, -1):
            if known[start : start + count] == tail:
                return known[start + count : start + count + LOOKUP_LENGTH]
    return []


class Drafter:
    """What the model last said to each task, with gaps where it repeated the prompt's phrases."""

    def __init__(self) -> None:
        self._forms: dict[str, tuple[int, ...]] = {}
        self._answers: dict[str, list[int]] = {}

    def last_answer(self, task: str) -> list[int]:
        """Return the last answer to a task as it was."""
        return self._answers.get(task, [])

    def draft(self, task: str, phrases: Sequence[Ids], known: Ids = NO_DRAFT) -> Ids:
        """Return the expected answer, int64 [n]: the last one with this prompt's phrases, or ``known`` before any.

        ``phrases`` are the ids between each ``<p>`` and ``</p>`` of the prompt.
        """
        form = self._forms.get(task)
        return known[:MAX_DRAFT] if form is None else fill(form, phrases)[:MAX_DRAFT]

    def record(self, task: str, phrases: Sequence[Ids], ids: Ids) -> None:
        """Remember an answer, int64 [n], that ended by itself."""
        self._forms[task] = abstract(ids, phrases)[:MAX_DRAFT]
        self._answers[task] = ids.tolist()


def abstract(ids: Ids, phrases: Sequence[Ids]) -> tuple[int, ...]:
    """Replace each phrase that occurs in ``ids`` by a gap: -1 for the first phrase, -2 for the second and so on.

    Of phrases that begin at the same place the longest is taken. A phrase that holds a region is no text.
    """
    texts = sorted(
        ((index, phrase.tolist()) for index, phrase in enumerate(phrases) if len(phrase) and (phrase >= 0).all()),
        key=lambda item: -len(item[1]),
    )
    values, form, at = ids.tolist(), [], 0
    while at < len(values):
        index, size = next(((i, len(p)) for i, p in texts if values[at : at + len(p)] == p), (-1, 1))
        form.append(-1 - index if index >= 0 else values[at])
        at += size
    return tuple(form)


def fill(form: Sequence[int], phrases: Sequence[Ids]) -> Ids:
    """Fill the gaps of ``abstract``; a gap without a phrase of text ends the draft."""
    ids: list[int] = []
    for value in form:
        if value >= 0:
            ids.append(value)
            continue
        index = -1 - value
        if index >= len(phrases) or not (phrases[index] >= 0).all():
            break
        ids += phrases[index].tolist()
    return np.array(ids, np.int64)
