"""What is asked of the language model, and what the mask decoder needs of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.bundle.settings import SpecialTokens
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.language.sequence import Expanded
from xsam_edge.runtime.language.tokenizer import Ids, Tokenizer, phrase_spans, seg_positions

Float = npt.NDArray[np.float32]

# The official demo's GenerationConfig allows 2,048; answers that segment are far shorter.
MAX_NEW_TOKENS = 512


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt on an image, and how its answer comes about.

    ``regions`` are the tokens of the prompt's regions, float32 [R, tokens, hidden]. ``append`` takes the prompt's known
    answer as given and runs a single forward (mode "tensor" of the official code); otherwise the answer is decoded
    greedily (mode "predict"), up to ``max_new_tokens``. ``draft`` are ids that it is expected to have, int64 [n]: they
    are checked along with the prompt, which saves forwards and changes nothing else. None leaves the draft to the
    model, which then remembers the answer too. ``told`` is given the ids so far after every forward, and ends the
    answer by an error of its own.
    """

    prompt: Prompt
    regions: Float | None = None
    append: bool = False
    max_new_tokens: int = MAX_NEW_TOKENS
    draft: Ids | None = None
    told: Callable[[list[int]], None] | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What the language model said, and what the mask decoder needs of it.

    ``ids`` are generated ids only, the stop token included; empty for an appended answer. ``hidden`` are pooled rows
    float32 [rows, embed], the first of which belongs to position ``first`` of the sequence.
    """

    ids: Ids
    text: str
    phrases: tuple[str, ...]  # of generated <p>..</p>
    conditions: Float | None  # [C, embed], None without a condition
    seg: Float | None  # [embed], None unless there is exactly one <SEG>
    hidden: Float
    first: int
    forwards: int = 1  # of the language model


def appended_answer(sequence: Expanded, hidden: Float, first: int, forwards: int) -> Answer:
    """The answer that ends ``sequence``, from the pooled rows of the sequence from ``first`` on."""
    conditions = _pool(hidden, sequence.cond_ids[first:])
    seg = _single(hidden, sequence.seg_ids[first:])
    return Answer(np.empty(0, np.int64), "", (), conditions, seg, hidden, first, forwards)


def generated_answer(
    sequence: Expanded, ids: Ids, hidden: Float, first: int, forwards: int, tokenizer: Tokenizer, tokens: SpecialTokens
) -> Answer:
    """The answer ``ids`` to a prompt, from the pooled rows from ``first`` on of the prompt and all but its last id.

    Phrases that the model generates replace the prompt's conditions (``XSamModel.predict``).
    """
    # The last token never was an input, so it has no hidden state.
    fed = ids[:-1]
    output = hidden[len(hidden) - len(fed) :]
    conditions = _pool(hidden[: len(hidden) - len(fed)], sequence.cond_ids[first:])
    if (fed == tokens.phrase_start).any():
        conditions = _pool(output, phrase_spans(fed, tokens))
    seg = _single(output, seg_positions(fed, tokens))
    phrases = tuple(tokenizer.phrases(fed, tokens))
    return Answer(ids, tokenizer.decode(ids), phrases, conditions, seg, hidden, first, forwards)


def _pool(hidden: Float, spans: Ids) -> Float | None:
    """Mean of the rows of each span; None without a span (``XSamModel._get_index_embeds``)."""
    labels = np.unique(spans[spans >= 0])
    if not len(labels):
        return None
    return np.stack([hidden[spans == label].mean(axis=0, dtype=np.float32) for label in labels])


def _single(hidden: Float, segs: Ids) -> Float | None:
    rows = np.flatnonzero(segs >= 0)
    return hidden[rows[0]] if len(rows) == 1 else None
