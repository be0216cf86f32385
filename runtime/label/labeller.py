"""A model that labels pictures, whatever came before: a picture's record does not depend on those around it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.label import chunks
from xsam_edge.runtime.label.asks import Ask
from xsam_edge.runtime.label.records import to_record
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.speculative import Drafter
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.postprocess.readers import Threshold
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.stream.stages import stages_of

AHEAD = 2  # pictures that are decoded while one is labelled

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a picture is asked; see the methods of ``Scene``. None is what they have by default."""

    threshold: Threshold | None = None
    several: bool = False
    instances: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """As values of JSON, without what was not chosen."""
        chosen: dict[str, Any] = {"threshold": self.threshold, "instances": self.instances}
        chosen["several"] = self.several or None
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True)
class Job:
    """A picture, by its place among all, and what is asked of it."""

    place: int
    name: str
    path: Path
    ask: Ask


class Labeller:
    """A loaded bundle, which nobody else uses meanwhile, and how pictures are asked."""

    def __init__(self, model: XSam, options: Options) -> None:
        self._model, self._options = model, options
        self._parts: dict[Ask, list[chunks.Part]] = {}

    def parts(self, ask: Ask) -> list[chunks.Part]:
        """How an ask's names are divided; none of phrases.

        Raises:
            InputError: a name or a phrase that the model cannot be asked.
        """
        language, names = self._model.language, [*ask.things, *ask.stuff]
        if not names:
            for phrase in ask.phrases:
                prompts.refer(phrase, language.settings.prompt, language.tokenizer.reserved)
            return []
        if ask not in self._parts:
            self._parts.clear()  # the last one is enough: either all are one, or hardly two are
            self._parts[ask] = chunks.parts_of(language, ask.things, ask.stuff)
        return self._parts[ask]

    def records(self, jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
        """The record of every picture, in their order; the next ones are read and resized while one is labelled.

        A picture that cannot be labelled has a record with an ``error``.
        """
        left = iter(jobs)
        waiting: deque[tuple[Job, Future[Prepared]]] = deque()
        with ThreadPoolExecutor(1, "xsam-prepare") as pool:
            try:
                while True:
                    while len(waiting) < AHEAD and (job := next(left, None)) is not None:
                        waiting.append((job, pool.submit(self._prepare, job)))
                    if not waiting:
                        return
                    job, prepared = waiting.popleft()
                    yield self._record(job, prepared.result)
            finally:
                for _, prepared in waiting:
                    prepared.cancel()

    def record(self, job: Job) -> dict[str, Any]:
        """The record of one picture."""
        return self._record(job, lambda: self._prepare(job))

    def _prepare(self, job: Job) -> Prepared:
        if job.path.exists() and not job.path.is_file():  # whoever opens a FIFO waits for its writer
            raise ImageError(f"{job.path} is no file; a picture was expected")
        prepared: Prepared = stages_of(self._model.pipeline, self._model.language, _nothing).prepare(job.path)
        return prepared

    def _record(self, job: Job, prepare: Callable[[], Prepared]) -> dict[str, Any]:
        language = self._model.language
        divided = self.parts(job.ask)
        if language.drafter is not None:
            # What earlier pictures were answered would decide which rows share a forward, and with that the last bits.
            language.drafter = Drafter()
        stages = stages_of(self._model.pipeline, language, lambda scene: self._ask(scene, job.ask, divided))
        try:
            results, _ = stages.answer(stages.encode(prepare()))
            return to_record(job.name, results, job.ask.phrases, len(divided))
        except (InputError, MemoryError) as error:
            text = str(error) or "not enough memory for this picture"
            _log.warning("%r is left out: %s", job.name, " ".join(text.split()))
            return {"picture": job.name, "error": text}

    def _ask(self, scene: Scene, ask: Ask, divided: list[chunks.Part]) -> Result | list[Result]:
        options = self._options
        if ask.phrases:
            return scene.refer(list(ask.phrases), several=options.several, threshold=options.threshold)
        return chunks.categories(scene, divided, instances=options.instances, threshold=options.threshold)


def _nothing(_scene: Scene) -> Result:
    raise AssertionError("pictures are prepared without a question")
