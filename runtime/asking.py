"""From questions about one image to results: all prompts as one batch, then the masks of those that have any."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xsam_edge.runtime import arguments
from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures, Pipeline
from xsam_edge.runtime.held_image import HeldImage
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS, Answer, Request
from xsam_edge.runtime.language.batch import MAX_BATCH
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.language.tokenizer import Ids
from xsam_edge.runtime.postprocess.readers import Reader, Segmentation
from xsam_edge.runtime.results.result import Result

AnswerMode = Literal["greedy", "append"]


@dataclass(frozen=True, eq=False)
class Question:
    """A prompt, and what becomes of its answer: segments by the reader that fits it, or, with None, text alone.

    ``points`` are those of the prompt's regions, float32 [R, points, 2] as (y, x) in 0..1 of the padded input.
    ``told`` is given what was said so far while the answer is decoded, as the result will have it: its ``text``, or
    of a question with a reader its ``caption``.
    """

    prompt: Prompt
    reader_for: Callable[[Answer], Reader] | None
    points: Float | None = None
    told: Callable[[str], None] | None = None


def any_answer(reader: Reader) -> Callable[[Answer], Reader]:
    """One reader, whatever the answer is."""
    return lambda _: reader


def ask(
    pipeline: Pipeline,
    language: LanguageModel,
    held: HeldImage,
    looked: Mapping[str, float],
    questions: Sequence[Question],
    mode: AnswerMode = "greedy",
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[Result]:
    """Answer questions on an image, in one turn with the model.

    Args:
        pipeline: the graphs.
        language: the language model on them.
        held: the image.
        looked: milliseconds of its stages, which open every result's timings.
        questions: those to answer, as one batch.
        mode: how answers come about; see :mod:`xsam_edge.runtime.scene`.
        max_new_tokens: of each answer.

    Raises:
        InputError: an unknown mode, one that the task does not have, or an image that was closed.
        ContextLengthError: a prompt that does not fit.
    """
    appended = [_is_appended(mode, question.prompt) for question in questions]
    if not questions:
        return []
    with held.turn() as features:
        start = time.perf_counter()
        requests = [
            Request(
                question.prompt,
                _region_tokens(language, features, question),
                append,
                max_new_tokens,
                told=_reporter(language, question),
            )
            for question, append in zip(questions, appended, strict=True)
        ]
        answers = language.generate(requests, features)
        llm_ms = 1e3 * (time.perf_counter() - start) / len(questions)
        timings = [{**looked, "llm": llm_ms} for _ in questions]
        segmentations = _segment(pipeline, features, questions, answers, timings)
    return [_result(held, language, *parts) for parts in zip(questions, answers, segmentations, timings, strict=True)]


def _is_appended(mode: AnswerMode, prompt: Prompt) -> bool:
    arguments.choice("answer", mode, "greedy", *(("append",) if prompt.answer is not None else ()))
    return mode == "append"


def _region_tokens(language: LanguageModel, features: ImageFeatures, question: Question) -> Float | None:
    return None if question.points is None else language.region_tokens(features, question.points)


def _segment(
    pipeline: Pipeline,
    features: ImageFeatures,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    timings: Sequence[dict[str, float]],
) -> list[Segmentation]:
    """Masks of answers, those with equally many conditions at once; adds to ``timings`` what they took."""
    segmentations = [Segmentation(())] * len(answers)
    for batch in _mask_batches(questions, answers, MAX_BATCH if pipeline.batches else 1):
        start = time.perf_counter()
        segs = np.stack([seg for index in batch if (seg := answers[index].seg) is not None])
        conditions = np.stack([rows for index in batch if (rows := answers[index].conditions) is not None])
        class_logits, mask_logits = pipeline.decode_mask_batch(features, segs, conditions)
        share = 1e3 * (time.perf_counter() - start) / len(batch)
        for place, index in enumerate(batch):
            start = time.perf_counter()
            reader_for = questions[index].reader_for
            assert reader_for is not None, "those without are in no batch"
            segmentations[index] = reader_for(answers[index])(class_logits[place], mask_logits[place])
            timings[index] |= {"mask_decoder": share, "postprocess": 1e3 * (time.perf_counter() - start)}
    return segmentations


def _mask_batches(questions: Sequence[Question], answers: Sequence[Answer], size: int) -> list[list[int]]:
    """Indices of the answers that have something to segment, by their number of conditions, ``size`` at most each."""
    by_count: dict[int, list[int]] = {}
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        if question.reader_for is not None and answer.seg is not None and answer.conditions is not None:
            by_count.setdefault(len(answer.conditions), []).append(index)
    return [indices[at : at + size] for indices in by_count.values() for at in range(0, len(indices), size)]


def _result(
    held: HeldImage,
    language: LanguageModel,
    question: Question,
    answer: Answer,
    segmentation: Segmentation,
    timings: Mapping[str, float],
) -> Result:
    unanswered = _why_not(answer) if question.reader_for else ""
    return Result(
        question.prompt.task,
        segmentation.segments,
        held.frame.image_size,
        _without_stop_word(answer.text, language.settings.prompt.stop_words),
        question.prompt.text,
        segmentation.id_map,
        timings,
        answered=not unanswered,
        reason=unanswered or segmentation.reason,
        image=held.image,
        token_ids=tuple(answer.ids.tolist()),
        llm_forwards=answer.forwards,
        best_score=segmentation.best_score,
        caption=_caption(language, answer.ids),
    )


def _reporter(language: LanguageModel, question: Question) -> Callable[[list[int]], None] | None:
    """What turns ids so far into the text that a question's ``told`` is given."""
    told = question.told
    if told is None:
        return None
    stop_words = language.settings.prompt.stop_words
    if question.reader_for is None:
        return lambda ids: told(_without_stop_word(language.tokenizer.decode(ids), stop_words))
    return lambda ids: told(_caption(language, np.array(ids, np.int64)))


def _caption(language: LanguageModel, ids: Ids) -> str:
    """Generated ids without the marks around phrases, as one reads them."""
    tokens = language.settings.tokens
    said = ids[~np.isin(ids, [tokens.seg, tokens.phrase_start, tokens.phrase_end])]
    return as_read(_without_stop_word(language.tokenizer.decode(said), language.settings.prompt.stop_words))


def _why_not(answer: Answer) -> str:
    if answer.seg is None:
        return "the model's answer holds no <SEG>, or more than one"
    if answer.conditions is None:
        return "the model's answer names nothing to segment"
    return ""


def as_read(text: str) -> str:
    """A text without what is left around marks that were taken out of it: blanks, and a full stop behind another."""
    ended = re.sub(r"(?<=[.!?]) \.$", "", " ".join(text.split()))  # "... sand. <SEG>."
    return re.sub(r" (?=[.,;:!?])", "", ended)


def _without_stop_word(text: str, stop_words: Sequence[str]) -> str:
    for word in stop_words:
        text = text.removesuffix(word)
    return text.strip()
