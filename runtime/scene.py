"""One image that was looked at, and everything that can be asked of it.

Every method returns a :class:`~xsam_edge.runtime.results.result.Result`: masks at the image's own size, scores, boxes,
text.
``answer`` says how the language model gets to its answer: "greedy" decodes it (as the official demo), "append" takes
the known answer of the task as given and runs a single forward (as the official benchmarks).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

import numpy as np

from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures, Pipeline
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image import preprocess
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.image.preprocess import Prepared, prepare
from xsam_edge.runtime.image.regions import box_mask, point_mask, region_mask, sample_points
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS, Answer, Request
from xsam_edge.runtime.language.batch import MAX_BATCH
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.postprocess import readers
from xsam_edge.runtime.postprocess.readers import Reader, Segmentation
from xsam_edge.runtime.results.result import Result

AnswerMode = Literal["greedy", "append"]
Phrases = list[str] | tuple[str, ...]
Box = Sequence[float]
Point = Sequence[float]


@dataclass(frozen=True, eq=False)
class _Question:
    """A prompt, and what becomes of its answer: segments by the reader that fits it, or, with None, text alone."""

    prompt: Prompt
    reader_for: Callable[[Answer], Reader] | None


class Scene:
    """An encoded image. Made by :meth:`XSam.look`.

    Holds the image's features until it is closed, unless memory for scenes runs out (``scene_bytes`` of
    :meth:`XSam.load`): the next question then encodes the image again, with the same result.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        language: LanguageModel,
        prepared: Prepared,
        features: ImageFeatures,
        timings: Mapping[str, float],
    ) -> None:
        self.image = prepared.image
        self.frame = prepared.frame
        self.timings = dict(timings)  # milliseconds of looking
        self._pipeline = pipeline
        self._language = language
        self._settings = language.settings
        self._features: ImageFeatures | None = features
        self._closed = False
        self._form = self._settings.prompt
        self._reserved = language.tokenizer.reserved
        language.cache_pool.use(self)

    @overload
    def refer(
        self, phrase: str, *, answer: AnswerMode = ..., several: bool = ..., threshold: float = ...
    ) -> Result: ...

    @overload
    def refer(
        self, phrase: Phrases, *, answer: AnswerMode = ..., several: bool = ..., threshold: float = ...
    ) -> list[Result]: ...

    def refer(
        self,
        phrase: str | Phrases,
        *,
        answer: AnswerMode = "greedy",
        several: bool = False,
        threshold: float = 0.6,
    ) -> Result | list[Result]:
        """Segment the one thing that a phrase names; with ``several``, everything that scores ``threshold``.

        A list of phrases is asked as one batch and gives a list of results, in its order; ``timings`` of each are its
        share.
        """
        texts = [phrase] if isinstance(phrase, str) else phrase
        referring = [prompts.refer(text, self._form, self._reserved) for text in texts]
        results = self._ask_referring(referring, answer, several, threshold)
        return results[0] if isinstance(phrase, str) else results

    @overload
    def reason(
        self, sentence: str, *, answer: AnswerMode = ..., several: bool = ..., threshold: float = ...
    ) -> Result: ...

    @overload
    def reason(
        self, sentence: Phrases, *, answer: AnswerMode = ..., several: bool = ..., threshold: float = ...
    ) -> list[Result]: ...

    def reason(
        self,
        sentence: str | Phrases,
        *,
        answer: AnswerMode = "greedy",
        several: bool = False,
        threshold: float = 0.6,
    ) -> Result | list[Result]:
        """Segment what answers a question or fits a sentence; ``several`` and lists as in :meth:`refer`."""
        texts = [sentence] if isinstance(sentence, str) else sentence
        referring = [prompts.reason(text, self._form, self._reserved) for text in texts]
        results = self._ask_referring(referring, answer, several, threshold)
        return results[0] if isinstance(sentence, str) else results

    def categories(
        self,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        *,
        instances: bool | None = None,
        semantic: bool | None = None,
        threshold: float = 0.5,
        overlap_threshold: float = 0.8,
        answer: AnswerMode = "greedy",
    ) -> Result:
        """Segment every pixel of the named categories.

        Things are counted one by one, stuff is one region. Things and stuff together give a panoptic result; things
        alone instances, which may overlap; stuff alone a semantic map. ``instances=True`` or ``semantic=True`` asks
        for that form of any list of categories, ``instances=False`` and ``semantic=False`` for the panoptic one.

        Raises:
            InputError: no category, an empty or repeated one, or both forms at once.
        """
        if instances and semantic:
            raise InputError("instances and semantic were both asked for; choose one")
        names = [*_names(things, "things"), *_names(stuff, "stuff")]
        prompt = prompts.categories(names, self._form, self._reserved)
        if instances is None and semantic is None:
            instances, semantic = not stuff, not things

        if instances:
            reader = readers.instances(self.frame, prompt.labels, threshold, len(things) or None)
        elif semantic:
            reader = readers.semantic(self.frame, prompt.labels, len(things), self._settings)
        else:
            reader = readers.panoptic(self.frame, prompt.labels, len(things), threshold, overlap_threshold)
        return self._ask([_Question(prompt, _any_answer(reader))], answer)[0]

    def regions(
        self,
        *,
        boxes: Sequence[Box] = (),
        points: Sequence[Point] = (),
        masks: Sequence[ImageSource] = (),
        similar: bool | None = None,
        threshold: float = 0.5,
        answer: AnswerMode = "greedy",
    ) -> Result:
        """Segment what boxes (x0, y0, x1, y1), points (x, y) and masks point at, in pixels of the image.

        A single region gives the object under it (intseg). Several, or ``similar=True``, give everything in the
        image that resembles one of them (vgdseg); ``label_id`` then counts the regions, boxes before points before
        masks.

        Raises:
            InputError: no region, or one that does not fit the image.
        """
        size = self.frame.image_size
        drawn = [box_mask(box, size) for box in boxes]
        drawn += [point_mask(point, size) for point in points]
        drawn += [region_mask(mask, size) for mask in masks]
        if not drawn:
            raise InputError("no region was given; give at least one box, point or mask")
        similar = len(drawn) > 1 if similar is None else similar
        if not similar and len(drawn) > 1:
            raise InputError(f"{len(drawn)} regions were given; one object is asked for with one region")
        scaled = [preprocess.mask_prompt(mask, self._settings.mask_input) for mask in drawn]
        points_yx = np.stack([sample_points(mask, self._settings.regions.points) for mask in scaled])
        tokens = self._language.region_tokens(self.features, points_yx)
        if similar:
            prompt = prompts.regions(len(drawn), self._form)
            reader = readers.instances(self.frame, prompt.labels, threshold)
        else:
            prompt = prompts.interactive(self._form)
            reader = readers.pointed_at(self.frame, prompt.labels, threshold, scaled[0], self._settings)
        return self._ask([_Question(prompt, _any_answer(reader))], answer, tokens)[0]

    def describe(self, *, max_new_tokens: int = MAX_NEW_TOKENS) -> Result:
        """Describe the image in a sentence, with a mask for each phrase of it."""
        question = _Question(prompts.describe(self._form), lambda answer: readers.grounded(self.frame, answer.phrases))
        return self._ask([question], max_new_tokens=max_new_tokens)[0]

    def chat(self, question: str, *, max_new_tokens: int = MAX_NEW_TOKENS) -> Result:
        """Answer a question about the image in words."""
        prompt = prompts.chat(question, self._form, self._reserved)
        (result,) = self._ask([_Question(prompt, None)], max_new_tokens=max_new_tokens)
        return replace(result, prompt=question)

    @property
    def features(self) -> ImageFeatures:
        """The image's features on the device.

        Raises:
            InputError: the scene was closed.
        """
        if self._closed:
            raise InputError("this scene was closed; look at the image again")
        features = self._features
        if features is None:
            prepared = prepare(self.image, self._settings)
            features = self._features = self._pipeline.encode_image(prepared.pixel_values, prepared.mask_pixel_values)
        self._language.cache_pool.use(self)
        return features

    def feature_bytes(self) -> int:
        """Bytes of the features that are held now."""
        return self._features.nbytes if self._features else 0

    def drop_features(self) -> None:
        """Let go of the image's features and prefix; the next question computes them anew."""
        if self._features is not None:
            self._language.forget(self._features)
            self._features = None

    def close(self) -> None:
        """Free the image's features; its key-value cache is free for the next scene."""
        self.drop_features()
        self._closed = True

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_referring(
        self, referring: Sequence[Prompt], mode: AnswerMode, several: bool, threshold: float
    ) -> list[Result]:
        questions = [
            _Question(prompt, _any_answer(readers.referred(self.frame, prompt.labels, threshold, several=several)))
            for prompt in referring
        ]
        return self._ask(questions, mode)

    def _ask(
        self,
        questions: Sequence[_Question],
        mode: AnswerMode = "greedy",
        regions: Float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[Result]:
        """The one way to an answer: all prompts as one batch, then the masks of those that have any."""
        if not questions:
            return []
        start = time.perf_counter()
        requests = [
            Request(question.prompt, regions, _is_appended(mode, question.prompt), max_new_tokens)
            for question in questions
        ]
        answers = self._language.generate(requests, self.features)
        llm_ms = 1e3 * (time.perf_counter() - start) / len(questions)
        timings = [{**self.timings, "llm": llm_ms} for _ in questions]
        segmentations = self._segment(questions, answers, timings)
        return [self._result(*parts) for parts in zip(questions, answers, segmentations, timings, strict=True)]

    def _segment(
        self, questions: Sequence[_Question], answers: Sequence[Answer], timings: Sequence[dict[str, float]]
    ) -> list[Segmentation]:
        """Masks of answers, those with equally many conditions at once; adds to ``timings`` what they took."""
        features, pipeline = self.features, self._pipeline
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

    def _result(
        self, question: _Question, answer: Answer, segmentation: Segmentation, timings: Mapping[str, float]
    ) -> Result:
        reason = _why_not(answer) if question.reader_for else ""
        return Result(
            question.prompt.task,
            segmentation.segments,
            self.frame.image_size,
            self._without_stop_word(answer.text),
            question.prompt.text,
            segmentation.id_map,
            timings,
            answered=not reason,
            reason=reason,
            image=self.image,
            token_ids=tuple(answer.ids.tolist()),
            llm_forwards=answer.forwards,
        )

    def _without_stop_word(self, text: str) -> str:
        for word in self._form.stop_words:
            text = text.removesuffix(word)
        return text.strip()


def _any_answer(reader: Reader) -> Callable[[Answer], Reader]:
    return lambda _: reader


def _is_appended(mode: AnswerMode, prompt: Prompt) -> bool:
    if mode not in ("greedy", "append") or (mode == "append" and prompt.answer is None):
        raise InputError(f"answer is {mode!r}; choose 'greedy' or 'append'")
    return mode == "append"


def _mask_batches(questions: Sequence[_Question], answers: Sequence[Answer], size: int) -> list[list[int]]:
    """Indices of the answers that have something to segment, by their number of conditions, ``size`` at most each."""
    by_count: dict[int, list[int]] = {}
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        if question.reader_for is not None and answer.seg is not None and answer.conditions is not None:
            by_count.setdefault(len(answer.conditions), []).append(index)
    return [indices[at : at + size] for indices in by_count.values() for at in range(0, len(indices), size)]


def _names(names: Sequence[str], what: str) -> list[str]:
    if isinstance(names, str):
        raise InputError(f'{what} must be a list of names, not the text {names!r}; write ["person", "car"]')
    return list(names)


def _why_not(answer: Answer) -> str:
    if answer.seg is None:
        return "the model's answer holds no <SEG>, or more than one"
    if answer.conditions is None:
        return "the model's answer names nothing to segment"
    return ""
