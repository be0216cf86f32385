"""One question to many frames: a model's stages in a stream."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set, Sized
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime import arguments, encoding
from xsam_edge.runtime.chain.pipeline import ImageFeatures, Pipeline
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.image.content import is_content
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Phrases, Scene
from xsam_edge.runtime.stream.bag import Bag
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.sources import Camera, Folder, Video, open_source
from xsam_edge.runtime.stream.stream import FrameStream, Policy, Stages
from xsam_edge.runtime.stream.tracked import TrackedStream
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.tracking.tracker import Tracker

_ANSWER = "the Result that ask returns, or a list of several"
_FRAMES = "a folder, a video, a bag, what is live, or a collection of images"

FrameQuestion = Callable[[Scene], "Result | Sequence[Result]"]
Frames = str | Path | int | Iterable[Any]


def stream(
    pipeline: Pipeline,
    language: LanguageModel,
    frames: Frames,
    *,
    refer: str | Phrases | None = None,
    ask: FrameQuestion | None = None,
    deadline: float | None = None,
    latest: bool | None = None,
    overlap: bool = False,
    clock: Callable[[], float] | None = None,
    reconnect: Reconnect | None = None,
    bgr: bool = False,
    strict: bool = False,
    tracker: TrackerOptions | None = None,
) -> FrameStream:
    """Ask the same of every frame; see :meth:`XSam.stream`. With a ``tracker`` it is a ``TrackedStream``."""
    if (refer is None) == (ask is None):
        raise InputError("a stream needs one question: either refer or ask")
    question = _refer(refer, language) if refer is not None else arguments.function("ask", ask)
    source = _source(frames, reconnect)
    if latest is None:
        latest = bool(getattr(source, "live", not isinstance(source, Sized)))
    bgr = arguments.flag("bgr", bgr)
    if bgr and isinstance(source, (Folder, Video, Bag, Camera)):
        raise InputError("bgr is of arrays, and addresses give none; leave it out")
    policy = Policy(latest, deadline, overlap, clock, strict)
    stages = stages_of(pipeline, language, question, bgr=bgr)
    if tracker is None:
        return FrameStream(source, stages, policy)
    return TrackedStream(source, stages, policy, Tracker(tracker))


def _source(frames: Frames, reconnect: Reconnect | None) -> Iterable[Any]:
    """What gives the frames.

    Raises:
        InputError: nothing that can be iterated in an order, or a single image, whose rows could be.
    """
    if isinstance(frames, (str, os.PathLike)):
        return open_source(os.fsdecode(frames), reconnect=reconnect)  # no Path, which halves the slashes of a URL
    if isinstance(frames, (int, np.integer)) and not isinstance(frames, bool):
        return Camera(int(frames), reconnect)
    if reconnect is not None:
        raise InputError("reconnect is for addresses; give it to the source, or open frames of your own again yourself")
    one_image = is_content(frames) or _is_one_image(getattr(frames, "shape", None))
    if isinstance(frames, Iterable) and not isinstance(frames, (Mapping, Set)) and not one_image:
        return frames
    raise arguments.wrong("frames", frames, _FRAMES)


def _is_one_image(shape: object) -> bool:
    """Whether an array or tensor is [H, W], [H, W, channels] or less; frames are [N, H, W] or [N, H, W, channels]."""
    return isinstance(shape, tuple) and (len(shape) < 3 or (len(shape) == 3 and shape[2] in (1, 3, 4)))


def stages_of(pipeline: Pipeline, language: LanguageModel, ask: FrameQuestion, *, bgr: bool = False) -> Stages:
    """The stages of a model: prepare an image, encode it, answer ``ask``."""

    def prepare(image: ImageSource | ImageError) -> Prepared:
        if isinstance(image, ImageError):
            raise image
        return encoding.prepare(image, pipeline, language.settings, bgr=bgr)

    def encode(prepared: Prepared) -> tuple[Prepared, ImageFeatures, float]:
        start = time.perf_counter()
        features = encoding.encode(prepared, pipeline)
        return prepared, features, 1e3 * (time.perf_counter() - start)

    def answer(encoded: tuple[Prepared, ImageFeatures, float]) -> tuple[tuple[Result, ...], Mapping[str, float]]:
        prepared, features, ms = encoded
        looked = {"preprocess": prepared.ms, "image_encoder": ms}
        with Scene(pipeline, language, prepared, features, looked) as scene:
            answers = ask(scene)
        given = [answers] if isinstance(answers, Result) else arguments.items("the answer", answers, _ANSWER)
        results = tuple(arguments.instance("the answer", result, Result, _ANSWER) for result in given)
        if not results:
            raise InputError("the question gave no result; it must return a Result or several")
        timings = dict(looked)
        for result in results:
            for stage, taken in result.timings.items():
                if stage not in looked:
                    timings[stage] = timings.get(stage, 0.0) + taken
        return results, timings

    return Stages(prepare, encode, answer)


def _refer(phrases: str | Phrases, language: LanguageModel) -> FrameQuestion:
    """Raises InputError for what no frame could be asked."""
    texts = [phrases] if isinstance(phrases, str) else arguments.items("refer", phrases, "text, or a list of texts")
    for text in texts:
        prompts.refer(text, language.settings.prompt, language.tokenizer.reserved)
    if not texts:
        raise InputError("refer has no phrase; give at least one")
    return lambda scene: scene.refer(texts)
