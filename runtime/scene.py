"""One image that was looked at, and everything that can be asked of it.

Every method returns a :class:`~xsam_edge.runtime.results.Result`: masks at the image's own size, scores, boxes, text.
``answer`` says how the language model gets to its answer: "greedy" decodes it (as the official demo), "append" takes
the known answer of the task as given and runs a single forward (as the official benchmarks).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime import preprocess, prompts
from xsam_edge.runtime.answering import MAX_NEW_TOKENS, Answer
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.images import ImageSource
from xsam_edge.runtime.pipeline import Float, ImageFeatures
from xsam_edge.runtime.postprocess import (
    QueryMask,
    generalised_mask,
    grounded_masks,
    instance_masks,
    interactive_mask,
    panoptic_segments,
    referred_mask,
    semantic_map,
)
from xsam_edge.runtime.prompts import Prompt
from xsam_edge.runtime.regions import box_mask, point_mask, region_mask, sample_points
from xsam_edge.runtime.resize import Frame, restore_mask
from xsam_edge.runtime.results import Result, Segment

if TYPE_CHECKING:
    from PIL import Image

    from xsam_edge.runtime.model import XSam

AnswerMode = Literal["greedy", "append"]
Box = Sequence[float]
Point = Sequence[float]
BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Found:
    """What post-processing made of an answer."""

    segments: tuple[Segment, ...]
    id_map: npt.NDArray[np.int32] | None = None


_Reader = Callable[[Float, Float], _Found]  # class logits, mask logits


class Scene:
    """An encoded image. Made by :meth:`XSam.look`; holds the image's features until it is closed."""

    def __init__(
        self, model: XSam, image: Image.Image, features: ImageFeatures, frame: Frame, timings: Mapping[str, float]
    ) -> None:
        self.image = image
        self.frame = frame
        self.timings = dict(timings)  # milliseconds of looking
        self._model = model
        self._features: ImageFeatures | None = features
        self._form = model.manifest.settings.prompt
        self._reserved = model.language.tokenizer.reserved

    def refer(
        self, phrase: str, *, answer: AnswerMode = "greedy", several: bool = False, threshold: float = 0.6
    ) -> Result:
        """Segment the one thing that a phrase names; with ``several``, everything that scores ``threshold``."""
        prompt = prompts.refer(phrase, self._form, self._reserved)
        return self._ask(prompt, answer, lambda c, m: self._referred(prompt, c, m, several, threshold))

    def reason(
        self, sentence: str, *, answer: AnswerMode = "greedy", several: bool = False, threshold: float = 0.6
    ) -> Result:
        """Segment what answers a question or fits a sentence; ``several`` as in :meth:`refer`."""
        prompt = prompts.reason(sentence, self._form, self._reserved)
        return self._ask(prompt, answer, lambda c, m: self._referred(prompt, c, m, several, threshold))

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

        def read(class_logits: Float, mask_logits: Float) -> _Found:
            if instances:
                thing_ids = range(len(things)) if things else None
                found = instance_masks(class_logits, mask_logits, self.frame, threshold, thing_ids)
                return _Found(_segments(found, prompt.labels))
            if semantic:
                return self._semantic(prompt, class_logits, mask_logits, len(things))
            stuff_ids = range(len(things), len(names))
            panoptic = panoptic_segments(class_logits, mask_logits, self.frame, stuff_ids, threshold, overlap_threshold)
            segments = tuple(
                Segment.from_mask(
                    panoptic.mask(item),
                    item.score,
                    _label(prompt.labels, item.label_id),
                    item.label_id,
                    item.is_thing,
                    item.id,
                )
                for item in panoptic.segments
            )
            return _Found(segments, panoptic.id_map)

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

            def read(class_logits: Float, mask_logits: Float) -> _Found:
                found = instance_masks(class_logits, mask_logits, self.frame, threshold)
                return _Found(_segments(found, prompt.labels))
        else:
            prompt = prompts.interactive(self._form)

            def read(class_logits: Float, mask_logits: Float) -> _Found:
                shown = restore_mask(scaled[0], self.frame)
                match = settings.interactive_match
                found = interactive_mask(class_logits, mask_logits, self.frame, shown, match, threshold)
                return _Found(_segments([found], prompt.labels))

        return self._ask(prompt, answer, read, tokens)

    def describe(self, *, max_new_tokens: int = MAX_NEW_TOKENS) -> Result:
        """Describe the image in a sentence, with a mask for each phrase of it."""
        prompt = prompts.describe(self._form)
        start = time.perf_counter()
        given = self._model.language.generate(prompt.text, self.features, None, max_new_tokens)

        def read(class_logits: Float, mask_logits: Float) -> _Found:
            found = grounded_masks(class_logits, mask_logits, self.frame)
            return _Found(_segments(found, given.phrases))

        return self._finish(prompt, given, read, start)

    def chat(self, question: str, *, max_new_tokens: int = MAX_NEW_TOKENS) -> Result:
        """Answer a question about the image in words."""
        prompt = prompts.chat(question, self._form, self._reserved)
        start = time.perf_counter()
        given = self._model.language.generate(prompt.text, self.features, None, max_new_tokens)
        timings = {**self.timings, "llm": 1e3 * (time.perf_counter() - start)}
        text = self._spoken(given)
        ids = tuple(given.ids.tolist())
        size = self.frame.image_size
        return Result("chat", (), size, text, question, timings=timings, image=self.image, token_ids=ids)

    @property
    def features(self) -> ImageFeatures:
        """The image's features on the device.

        Raises:
            InputError: the scene was closed.
        """
        if self._features is None:
            raise InputError("this scene was closed; look at the image again")
        return self._features

    def close(self) -> None:
        """Free the image's features."""
        if self._features is not None:
            self._model.language.forget(self._features)
            self._features = None

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, prompt: Prompt, mode: AnswerMode, read: _Reader, regions: Float | None = None) -> Result:
        start = time.perf_counter()
        language = self._model.language
        if mode == "append" and prompt.answer is not None:
            given = language.append(prompt.text, prompt.answer, self.features, regions)
        elif mode == "greedy":
            given = language.generate(prompt.text, self.features, regions)
        else:
            raise InputError(f"answer is {mode!r}; choose 'greedy' or 'append'")
        return self._finish(prompt, given, read, start)

    def _finish(self, prompt: Prompt, given: Answer, read: _Reader, start: float) -> Result:
        answered = time.perf_counter()
        timings = {**self.timings, "llm": 1e3 * (answered - start)}
        found, reason = _Found(()), _why_not(given)
        if given.seg is not None and given.conditions is not None:
            class_logits, mask_logits = self._model.pipeline.decode_masks(self.features, given.seg, given.conditions)
            decoded = time.perf_counter()
            found = read(class_logits, mask_logits)
            timings["mask_decoder"] = 1e3 * (decoded - answered)
            timings["postprocess"] = 1e3 * (time.perf_counter() - decoded)
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
        )

    def _spoken(self, given: Answer) -> str:
        text = given.text
        for word in self._form.stop_words:
            text = text.removesuffix(word)
        return text.strip()

    def _referred(
        self, prompt: Prompt, class_logits: Float, mask_logits: Float, several: bool, threshold: float
    ) -> _Found:
        if several:
            found = generalised_mask(class_logits, mask_logits, self.frame, threshold)
        else:
            found = referred_mask(class_logits, mask_logits, self.frame)
        return _Found(_segments([found], prompt.labels))

    def _semantic(self, prompt: Prompt, class_logits: Float, mask_logits: Float, things: int) -> _Found:
        resized = self._model.manifest.settings.semantic_resize
        semantic = semantic_map(class_logits, mask_logits, self.frame, resized)
        segments = tuple(
            Segment.from_mask(semantic.label_map == label, semantic.shares[label], name, label, label < things)
            for label, name in enumerate(prompt.labels)
            if (semantic.label_map == label).any()
        )
        return _Found(segments, semantic.label_map)


def _segments(found: Sequence[QueryMask], labels: Sequence[str]) -> tuple[Segment, ...]:
    return tuple(
        Segment.from_mask(item.mask, item.score, _label(labels, item.label_id), item.label_id) for item in found
    )


def _label(labels: Sequence[str], label_id: int) -> str | None:
    """A condition's name; None past those that were asked for, where a model's answer has phrases of its own."""
    return labels[label_id] if label_id < len(labels) else None


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
