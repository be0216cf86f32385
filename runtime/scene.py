"""One image that was looked at, and everything that can be asked of it.

Every method returns a :class:`~xsam_edge.runtime.results.result.Result`: masks at the image's own size, scores, boxes,
text.
``answer`` says how the language model gets to its answer: "greedy" decodes it (as the official demo), "append" takes
the known answer of the task as given and runs a single forward (as the official benchmarks).
``threshold`` is the score, 0..1, below which a thing counts as absent; a result in which nothing scores enough has no
segment, and is not ``found``. "official" is the rule of the official code, which gives the best mask of a phrase or a
region, whatever it scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from xsam_edge.runtime import arguments, encoding
from xsam_edge.runtime.asking import AnswerMode, Question, any_answer, ask
from xsam_edge.runtime.chain.pipeline import ImageFeatures, Pipeline
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.held_image import HeldImage
from xsam_edge.runtime.image import preprocess
from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.image.regions import MaskSource, box_mask, point_mask, region_mask, sample_points
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.postprocess import readers
from xsam_edge.runtime.postprocess.readers import Threshold, checked_threshold
from xsam_edge.runtime.results.result import Result

Phrases = list[str] | tuple[str, ...]
Box = Sequence[float]
Point = Sequence[float]


#: Stages of a scene's ``timings``, which are paid once for all questions.
LOOKING = ("preprocess", "image_encoder")


class Scene:
    """An encoded image. Made by :meth:`XSam.look`.

    Holds the image's features until it is closed, unless memory for scenes runs out (``scene_bytes`` of
    :meth:`XSam.load`): the next question then encodes the image again, with the same result. Any thread may ask;
    questions to a model are answered one after the other, in the order in which they came.
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
        self._held = HeldImage(pipeline, language, prepared, features)
        self._form = self._settings.prompt
        self._reserved = language.tokenizer.reserved

    @classmethod
    def encoded(cls, pipeline: Pipeline, language: LanguageModel, prepared: Prepared) -> Scene:
        """A scene of a prepared image, which is encoded here."""
        start = time.perf_counter()
        features = encoding.encode(prepared, pipeline)
        timings = {"preprocess": prepared.ms, "image_encoder": 1e3 * (time.perf_counter() - start)}
        return cls(pipeline, language, prepared, features, timings)

    @overload
    def refer(
        self, phrase: str, *, answer: AnswerMode = ..., several: bool = ..., threshold: Threshold | None = ...
    ) -> Result: ...

    @overload
    def refer(
        self, phrase: Phrases, *, answer: AnswerMode = ..., several: bool = ..., threshold: Threshold | None = ...
    ) -> list[Result]: ...

    def refer(
        self,
        phrase: str | Phrases,
        *,
        answer: AnswerMode = "greedy",
        several: bool = False,
        threshold: Threshold | None = None,
    ) -> Result | list[Result]:
        """Segment the one thing that a phrase names; with ``several``, everything that fits it, as one mask.

        The ``threshold`` is by default the bundle's own, or without one the official rule: the best mask and, of
        ``several``, what scores 0.6 besides. A list of phrases is asked as one batch and gives a list of results, in
        its order; ``timings`` of each are its share.
        """
        texts = _texts("phrase", phrase)
        referring = [prompts.refer(text, self._form, self._reserved) for text in texts]
        results = self._ask_referring("refer", referring, answer, several, threshold)
        return results[0] if isinstance(phrase, str) else results

    @overload
    def reason(
        self, sentence: str, *, answer: AnswerMode = ..., several: bool = ..., threshold: Threshold | None = ...
    ) -> Result: ...

    @overload
    def reason(
        self, sentence: Phrases, *, answer: AnswerMode = ..., several: bool = ..., threshold: Threshold | None = ...
    ) -> list[Result]: ...

    def reason(
        self,
        sentence: str | Phrases,
        *,
        answer: AnswerMode = "greedy",
        several: bool = False,
        threshold: Threshold | None = None,
    ) -> Result | list[Result]:
        """Segment what answers a question or fits a sentence; all else as in :meth:`refer`."""
        texts = _texts("sentence", sentence)
        referring = [prompts.reason(text, self._form, self._reserved) for text in texts]
        results = self._ask_referring("reason", referring, answer, several, threshold)
        return results[0] if isinstance(sentence, str) else results

    def categories(
        self,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        *,
        instances: bool | None = None,
        semantic: bool | None = None,
        threshold: Threshold | None = None,
        overlap_threshold: float = 0.8,
        answer: AnswerMode = "greedy",
    ) -> Result:
        """Segment every pixel of the named categories.

        Things are counted one by one, stuff is one region. Things and stuff together give a panoptic result; things
        alone instances, which may overlap; stuff alone a semantic map. ``instances=True`` or ``semantic=True`` asks
        for that form of any list of categories, ``instances=False`` and ``semantic=False`` for the panoptic one.

        The ``threshold`` is by default the official 0.5; in a semantic map, where the official code gives every pixel
        a category, there is none by default, and a pixel of no category that scores enough has none (-1).

        Raises:
            InputError: no category, an empty or repeated one, or both forms at once.
        """
        threshold = checked_threshold(threshold)
        overlap_threshold = arguments.share("overlap_threshold", overlap_threshold)
        instances, semantic = _choice("instances", instances), _choice("semantic", semantic)
        if instances and semantic:
            raise InputError("instances and semantic were both asked for; choose one")
        things, stuff = _names(things, "things"), _names(stuff, "stuff")
        prompt = prompts.categories([*things, *stuff], self._form, self._reserved)
        if instances is None and semantic is None:
            instances, semantic = not stuff, not things

        if instances:
            reader = readers.instances(self.frame, prompt.labels, threshold, len(things) or None)
        elif semantic:
            reader = readers.semantic(self.frame, prompt.labels, len(things), threshold, self._settings)
        else:
            reader = readers.panoptic(self.frame, prompt.labels, len(things), threshold, overlap_threshold)
        return self._ask([Question(prompt, any_answer(reader))], answer)[0]

    def regions(
        self,
        *,
        boxes: Sequence[Box] = (),
        points: Sequence[Point] = (),
        masks: Sequence[MaskSource] = (),
        similar: bool | None = None,
        threshold: Threshold | None = None,
        answer: AnswerMode = "greedy",
    ) -> Result:
        """Segment what boxes (x0, y0, x1, y1), points (x, y) and masks point at, in pixels of the image.

        A mask is an array, a Pillow image or a path, or such a map of ids with the id that is meant: ``(id_map, 3)``.

        A single region gives the object under it (intseg). Several, or ``similar=True``, give everything in the
        image that resembles one of them (vgdseg); ``label_id`` then counts the regions, boxes before points before
        masks. By default, as officially, what resembles one of several regions must score 0.5; the object under a
        single one is chosen among those that do or, if there are none, is the best.

        Raises:
            InputError: no region, or one that does not fit the image.
        """
        threshold = checked_threshold(threshold)
        similar, size = _choice("similar", similar), self.frame.image_size
        drawn = [box_mask(box, size) for box in arguments.items("boxes", boxes, "a list of boxes (x0, y0, x1, y1)")]
        drawn += [point_mask(point, size) for point in arguments.items("points", points, "a list of points (x, y)")]
        drawn += [region_mask(mask, size) for mask in arguments.items("masks", masks, "a list of masks")]
        if not drawn:
            raise InputError("no region was given; give at least one box, point or mask")
        similar = len(drawn) > 1 if similar is None else similar
        if not similar and len(drawn) > 1:
            raise InputError(f"{len(drawn)} regions were given; one object is asked for with one region")
        scaled = [preprocess.mask_prompt(mask, self._settings.mask_input) for mask in drawn]
        points_yx = np.stack([sample_points(mask, self._settings.regions.points) for mask in scaled])
        if similar:
            prompt = prompts.regions(len(drawn), self._form)
            reader = readers.instances(self.frame, prompt.labels, threshold)
        else:
            prompt = prompts.interactive(self._form)
            reader = readers.pointed_at(self.frame, prompt.labels, threshold, scaled[0], self._settings)
        return self._ask([Question(prompt, any_answer(reader), points_yx)], answer)[0]

    def describe(
        self,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        threshold: Threshold | None = None,
        told: Callable[[str], None] | None = None,
    ) -> Result:
        """Describe the image in a sentence, with a mask for each phrase of it, or for those that score enough.

        ``told`` is given the caption so far after every step of decoding, in the calling thread; an error of its own
        ends the answer, and is raised.
        """
        threshold = checked_threshold(threshold)
        max_new_tokens = arguments.count("max_new_tokens", max_new_tokens, 1)
        told = None if told is None else arguments.function("told", told)
        prompt = prompts.describe(self._form)
        question = Question(prompt, lambda answer: readers.grounded(self.frame, answer.phrases, threshold), told=told)
        return self._ask([question], max_new_tokens=max_new_tokens)[0]

    def chat(
        self, question: str, *, max_new_tokens: int = MAX_NEW_TOKENS, told: Callable[[str], None] | None = None
    ) -> Result:
        """Answer a question about the image in words; ``told`` is given the text so far, as in :meth:`describe`."""
        max_new_tokens = arguments.count("max_new_tokens", max_new_tokens, 1)
        told = None if told is None else arguments.function("told", told)
        prompt = prompts.chat(question, self._form, self._reserved)
        (result,) = self._ask([Question(prompt, None, told=told)], max_new_tokens=max_new_tokens)
        return replace(result, prompt=question)

    @property
    def language(self) -> LanguageModel:
        """What answers: its tokenizer tells how long a prompt is, its pipeline how much a context holds."""
        return self._language

    @property
    def features(self) -> ImageFeatures:
        """The image's features on the device.

        Raises:
            InputError: the scene was closed.
        """
        with self._held.turn() as features:
            return features

    def feature_bytes(self) -> int:
        """Bytes of the features that are held now."""
        return self._held.feature_bytes()

    def drop_features(self) -> None:
        """Let go of the image's features and prefix; the next question computes them anew."""
        self._held.drop_features()

    def close(self) -> None:
        """Free the image's features, once the questions that came before are answered; then it cannot be asked."""
        self._held.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_referring(
        self,
        task: str,
        referring: Sequence[Prompt],
        mode: AnswerMode,
        several: bool,
        threshold: Threshold | None,
    ) -> list[Result]:
        rule = (self._settings.rejection or {}).get(task)
        least = checked_threshold(threshold, "official" if rule is None else rule.threshold)
        several = arguments.flag("several", several)
        questions = [
            Question(prompt, any_answer(readers.referred(self.frame, prompt.labels, least, several=several)))
            for prompt in referring
        ]
        return self._ask(questions, mode)

    def _ask(
        self, questions: Sequence[Question], mode: AnswerMode = "greedy", max_new_tokens: int = MAX_NEW_TOKENS
    ) -> list[Result]:
        return ask(self._pipeline, self._language, self._held, self.timings, questions, mode, max_new_tokens)


def _texts(name: str, given: str | Phrases) -> list[str]:
    return [given] if isinstance(given, str) else arguments.items(name, given, "text, or a list of texts")


def _names(names: Sequence[str], what: str) -> list[str]:
    if isinstance(names, str):
        shown = arguments.found(names)
        raise InputError(f'{what} must be a list of names, not the text {shown}; write ["person", "car"]')
    return arguments.items(what, names, "a list of names")


def _choice(name: str, value: bool | None) -> bool | None:
    return None if value is None else arguments.flag(name, value)
