"""The one thread that works with the model: encodes pictures and answers questions, in the order in which they came.

Questions on one picture that wait at the same time and can share a batch do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.serve.questions import Question, Told
from xsam_edge.runtime.serve.scenes import Kept

_log = logging.getLogger(__name__)


class AbandonedError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, eq=False)
class Answered:
    """Results of a question, and how they came about.

    ``waited_ms`` passed before its turn; ``batch`` prompts were answered together; ``encoded`` tells whether its
    picture was encoded for it, of several questions at once for the first.
    """

    results: tuple[Result, ...]
    waited_ms: float
    batch: int
    encoded: bool


@dataclass(eq=False)
class Job:
    """A question about a picture, and the future of its answer. Cancel the future, or ``abandon`` a running one."""

    kept: Kept
    question: Question
    told: Told | None = None
    future: Future[Answered] = field(default_factory=Future)
    came: float = field(default_factory=time.perf_counter)
    abandoned: bool = False

    def abandon(self) -> None:
        """Let it be: it is not begun, or ends at its next step of decoding."""
        self.abandoned = True
        self.future.cancel()

    def tell(self, text: str) -> None:
        """What was said so far. Raises AbandonedError once nobody listens."""
        if self.abandoned:
            raise AbandonedError
        if self.told is not None:
            self.told(text)


class Worker:
    """The thread, and the questions that wait for it. ``submit`` may be called by any thread."""

    def __init__(self, model: XSam, batch: int) -> None:
        self._model, self._batch = model, batch
        self._coming: SimpleQueue[Job | None] = SimpleQueue()  # None where the thread is only to look up
        self._waiting: deque[Job] = deque()  # the thread's own
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="xsam-serve-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions that wait for their turn."""
        return len(self._waiting) + self._coming.qsize()

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive() and not self._closed

    @property
    def ended(self) -> bool:
        """Whether nothing uses the model any more."""
        return not self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Have a question answered."""
        self._coming.put(job)

    def close(self, seconds: float) -> None:
        """Cancel what waits, and end the thread once its question is answered, or leave it alone after ``seconds``."""
        self._closed = True
        self._coming.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._gather()
            if self._closed:
                for job in self._waiting:
                    job.abandon()
                return
            jobs = [job for job in self._next() if job.future.set_running_or_notify_cancel()]
            if jobs:
                self._answer(jobs)

    def _gather(self) -> None:
        """Take what came, and wait for something where nothing waits."""
        block = not self._waiting
        while block or not self._coming.empty():
            if (job := self._coming.get()) is not None:
                self._waiting.append(job)
            block = False

    def _next(self) -> list[Job]:
        """The first that waits, and those that can be answered with it."""
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        jobs, key = [first], first.question.batch_key
        if key is None:
            return jobs
        count, others = len(first.question.texts), []
        for job in self._waiting:
            texts = len(job.question.texts)
            if job.kept is first.kept and job.question.batch_key == key and count + texts <= self._batch:
                jobs.append(job)
                count += texts
            else:
                others.append(job)
        self._waiting = deque(others)
        return jobs

    def _answer(self, jobs: Sequence[Job]) -> None:
        start = time.perf_counter()
        kept = jobs[0].kept
        encoded = kept.scene is None
        try:
            scene = self._scene(kept)
            results = _ask(jobs, scene)
        except InputError as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:  # one of them is at fault, the others need not pay for it
                for job in jobs:
                    self._answer([job])
        except BaseException as error:
            if not isinstance(error, (AbandonedError, MemoryError)):
                _log.error("a question failed", exc_info=error)
            for job in jobs:
                job.future.set_exception(error)
        else:
            batch = sum(len(job.question.texts) or 1 for job in jobs)
            for job, own in zip(jobs, results, strict=True):
                first = job is jobs[0]
                job.future.set_result(Answered(tuple(own), 1e3 * (start - job.came), batch, encoded and first))

    def _scene(self, kept: Kept) -> Scene:
        if kept.scene is None:
            assert kept.prepared is not None, "a picture is prepared, a scene, or closed, and a closed one has no user"
            kept.scene = Scene.encoded(self._model.pipeline, self._model.language, kept.prepared)
            kept.prepared = None
        return kept.scene


def _ask(jobs: Sequence[Job], scene: Scene) -> list[list[Result]]:
    """The results of each job; of several, those of one question with all their texts."""
    first = jobs[0]
    if len(jobs) == 1:
        return [first.question.ask(scene, first.tell)]
    together = Question(
        first.question.task, tuple(text for job in jobs for text in job.question.texts), first.question.options
    )
    results = iter(together.ask(scene))
    return [[next(results) for _ in job.question.texts] for job in jobs]
