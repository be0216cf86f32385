"""One question to many frames: a model's stages in a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from xsam_edge.runtime import encoding
from xsam_edge.runtime.chain.pipeline import ImageFeatures, Pipeline
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Phrases, Scene
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.sources import Camera, open_source
from xsam_edge.runtime.stream.stream import FrameStream, Policy, Stages

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
) -> FrameStream:
    """Ask the same of every frame; see :meth:`XSam.stream`."""
    if (refer is None) == (ask is None):
        raise InputError("a stream needs one question: either refer or ask")
    if isinstance(frames, int):
        frames = Camera(frames, reconnect)
    elif isinstance(frames, (str, Path)):
        frames = open_source(str(frames), reconnect=reconnect)
    elif reconnect is not None:
        raise InputError("reconnect is for addresses; give it to the source, or open frames of your own again yourself")
    if latest is None:
        latest = bool(getattr(frames, "live", not isinstance(frames, Sized)))
    policy = Policy(latest, deadline, overlap, clock)
    return FrameStream(frames, stages_of(pipeline, language, ask or _refer(refer or "")), policy)


def stages_of(pipeline: Pipeline, language: LanguageModel, ask: FrameQuestion) -> Stages:
    """The stages of a model: prepare an image, encode it, answer ``ask``."""

    def encode(prepared: Prepared) -> tuple[Prepared, ImageFeatures, float]:
        start = time.perf_counter()
        features = encoding.encode(prepared, pipeline)
        return prepared, features, 1e3 * (time.perf_counter() - start)

    def answer(encoded: tuple[Prepared, ImageFeatures, float]) -> tuple[tuple[Result, ...], Mapping[str, float]]:
        prepared, features, ms = encoded
        looked = {"preprocess": prepared.ms, "image_encoder": ms}
        with Scene(pipeline, language, prepared, features, looked) as scene:
            answers = ask(scene)
        results = (answers,) if isinstance(answers, Result) else tuple(answers)
        if not results:
            raise InputError("the question gave no result; it must return a Result or several")
        timings = dict(looked)
        for result in results:
            for stage, taken in result.timings.items():
                if stage not in looked:
                    timings[stage] = timings.get(stage, 0.0) + taken
        return results, timings

    return Stages(lambda image: encoding.prepare(image, pipeline, language.settings), encode, answer)


def _refer(phrases: str | Phrases) -> FrameQuestion:
    return lambda scene: scene.refer(phrases)
