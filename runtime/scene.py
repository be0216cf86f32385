"""One image that was looked at, and everything that can be asked of it.

Every method returns a :class:`~xsam_edge.runtime.results.result.Result`: masks at the image's own size, scores, boxes,
text.
``answer`` says how the language model gets to its answer: "greedy" decodes it (as the official demo), "append" takes
the known answer of the task as given and runs a single forward (as the official benchmarks).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image import preprocess
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.image.prepare import prepare
from xsam_edge.runtime.image.regions import box_mask, point_mask, region_mask, sample_points
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.batch import MAX_BATCH, append_together, ask_together
from xsam_edge.runtime.language.generate import MAX_NEW_TOKENS, Answer
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.postprocess import readers
from xsam_edge.runtime.postprocess.readers import Found, Reader
from xsam_edge.runtime.results.result import Result

if TYPE_CHECKING:
    from PIL import Image

    from xsam_edge.runtime.model import XSam

AnswerMode = Literal["greedy", "append"]
Phrases = list[str] | tuple[str, ...]
Box = Sequence[float]
Point = Sequence[float]
BoolMask = npt.NDArray[np.bool_]


class Scene:
    """An encoded image. Made by :meth:`XSam.look`.

    Holds the image's features until it is closed, unless memory for scenes runs out (``scene_bytes`` of
    :meth:`XSam.load`): the next question then encodes the image again, with the same result.
    """

    def __init__(
        self, model: XSam, image: Image.Image, features: ImageFeatures, frame: Frame, timings: Mapping[str, float]
    ) -> None:
        self.image = image
        self.frame = frame
        self.timings = dict(timings)  # milliseconds of looking
        self._model = model
        self._features: ImageFeatures | None = features
        self._closed = False
        self._form = model.manifest.settings.prompt
        self._reserved = model.language.tokenizer.reserved
        model.language.memory.use(self)

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
        asked = [phrase] if isinstance(phrase, str) else phrase
        questions = [prompts.refer(text, self._form, self._reserved) for text in asked]
        results = self._ask_referred(questions, answer, several, threshold)
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
        asked = [sentence] if isinstance(sentence, str) else sentence
        questions = [prompts.reason(text, self._form, self._reserved) for text in asked]
        results = self._ask_referred(questions, answer, several, threshold)
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
            read = readers.instances(self.frame, prompt.labels, threshold, len(things) or None)
        elif semantic:
            read = readers.semantic(self.frame, prompt.labels, len(things), self._model.manifest.settings)
        else:
            read = readers.panoptic(self.frame, prompt.labels, len(things), threshold, overlap_threshold)
        return self._ask(prompt, answer, read)

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
        settings = self._model.manifest.settings
        scaled = [preprocess.mask_prompt(mask, settings.mask_input) for mask in drawn]
        drawn_points = np.stack([sample_points(mask, settings.regions.points) for mask in scaled])
        tokens = self._model.language.region_tokens(self.features, drawn_points)
        if similar:
            prompt = prompts.regions(len(drawn), self._form)
            read = readers.instances(self.frame, prompt.labels, threshold)
        else:
            prompt = prompts.interactive(self._form)
            read = readers.pointed_at(self.frame, prompt.labels, threshold, scaled[0], settings)
        return self._ask(prompt, answer, read, tokens)

    def describe(self, *, max_new_tokens: int = MAX_NEW_TOKENS) -> Result:
        """Describe the image in a sentence, with a mask for each phrase of it."""
        prompt = prompts.describe(self._form)
        start = time.perf_counter()
        given = self._model.language.ask(prompt, self.features, None, max_new_tokens)
        llm = 1e3 * (time.perf_counter() - start)
        return self._segment([prompt], [given], [readers.grounded(self.frame, given.phrases)], llm)[0]

    def chat(self, question: str, *, max_new_tokens: int = MAX_NEW_TOKENS) -> Result:
        """Answer a question about the image in words."""
        prompt = prompts.chat(question, self._form, self._reserved)
        start = time.perf_counter()
        given = self._model.language.ask(prompt, self.features, None, max_new_tokens)
        timings = {**self.timings, "llm": 1e3 * (time.perf_counter() - start)}
        return Result(
            "chat",
            (),
            self.frame.image_size,
            self._spoken(given),
            question,
            timings=timings,
            image=self.image,
            token_ids=tuple(given.ids.tolist()),
            llm_forwards=given.forwards,
        )

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
            prepared = prepare(self.image, self._model.manifest.settings)
            features = self._features = self._model.encode(prepared.pixel_values, prepared.mask_pixel_values)
        self._model.language.memory.use(self)
        return features

    def feature_bytes(self) -> int:
        """Bytes of the features that are held now."""
        return self._features.nbytes if self._features else 0

    def drop_features(self) -> None:
        """Let go of the image's features and prefix; the next question computes them anew."""
        if self._features is not None:
            self._model.language.forget(self._features)
            self._features = None

    def close(self) -> None:
        """Free the image's features; its key-value cache is free for the next scene."""
        self.drop_features()
        self._closed = True

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, prompt: Prompt, mode: AnswerMode, read: Reader, regions: Float | None = None) -> Result:
        start = time.perf_counter()
        language = self._model.language
        if _is_appended(mode, prompt):
            given = language.append(prompt.text, prompt.answer or "", self.features, regions)
        else:
            given = language.ask(prompt, self.features, regions)
        return self._segment([prompt], [given], [read], 1e3 * (time.perf_counter() - start))[0]

    def _ask_referred(self, asked: Sequence[Prompt], mode: AnswerMode, several: bool, threshold: float) -> list[Result]:
        reads = [readers.referred(self.frame, prompt.labels, threshold, several=several) for prompt in asked]
        if not asked:
            return []
        start = time.perf_counter()
        answer_all = append_together if _is_appended(mode, asked[0]) else ask_together
        given = answer_all(self._model.language, asked, self.features)
        return self._segment(asked, given, reads, 1e3 * (time.perf_counter() - start))

    def _segment(
        self, asked: Sequence[Prompt], given: Sequence[Answer], readers: Sequence[Reader], llm_ms: float
    ) -> list[Result]:
        """Masks of answers, those with equally many conditions at once."""
        features, pipeline = self.features, self._model.pipeline
        share = llm_ms / len(asked)
        timings = [{**self.timings, "llm": share} for _ in asked]
        found = [Found(())] * len(asked)
        for group in _mask_batches(given, MAX_BATCH if pipeline.batches else 1):
            start = time.perf_counter()
            segs = np.stack([seg for index in group if (seg := given[index].seg) is not None])
            conditions = np.stack([rows for index in group if (rows := given[index].conditions) is not None])
            class_logits, mask_logits = pipeline.decode_mask_batch(features, segs, conditions)
            share = 1e3 * (time.perf_counter() - start) / len(group)
            for place, index in enumerate(group):
                start = time.perf_counter()
                found[index] = readers[index](class_logits[place], mask_logits[place])
                timings[index] |= {"mask_decoder": share, "postprocess": 1e3 * (time.perf_counter() - start)}
        return [self._result(*parts) for parts in zip(asked, given, found, timings, strict=True)]

    def _result(self, prompt: Prompt, given: Answer, found: Found, timings: Mapping[str, float]) -> Result:
        reason = _why_not(given)
        return Result(
            prompt.task,
            found.segments,
            self.frame.image_size,
            self._spoken(given),
            prompt.text,
            found.id_map,
            timings,
            answered=not reason,
            reason=reason,
            image=self.image,
            token_ids=tuple(given.ids.tolist()),
            llm_forwards=given.forwards,
        )

    def _spoken(self, given: Answer) -> str:
        text = given.text
        for word in self._form.stop_words:
            text = text.removesuffix(word)
        return text.strip()


def _is_appended(mode: AnswerMode, prompt: Prompt) -> bool:
    if mode not in ("greedy", "append") or (mode == "append" and prompt.answer is None):
        raise InputError(f"answer is {mode!r}; choose 'greedy' or 'append'")
    return mode == "append"


def _mask_batches(given: Sequence[Answer], size: int) -> list[list[int]]:
    """Indices of the answers that have something to segment, by their number of conditions, ``size`` at most each."""
    by_count: dict[int, list[int]] = {}
    for index, answer in enumerate(given):
        if answer.seg is not None and answer.conditions is not None:
            by_count.setdefault(len(answer.conditions), []).append(index)
    return [indices[at : at + size] for indices in by_count.values() for at in range(0, len(indices), size)]


def _names(names: Sequence[str], what: str) -> list[str]:
    if isinstance(names, str):
        raise InputError(f'{what} must be a list of names, not the text {names!r}; write ["person", "car"]')
    return list(names)


def _why_not(given: Answer) -> str:
    if given.seg is None:
        return "the model's answer holds no <SEG>, or more than one"
    if given.conditions is None:
        return "the model's answer names nothing to segment"
    return ""
