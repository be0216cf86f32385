"""Between requests and the model: which picture is meant, its turn, and what is counted on the way.

Everything here belongs to the event loop's thread; what takes longer than a moment goes to a few threads of its own or
to the model's.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from xsam_edge.runtime import encoding
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.image.preprocess import Prepared
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import LOOKING
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.metrics import Gauge, Metrics, resident_bytes
from xsam_edge.runtime.serve.pictures import decode_picture
from xsam_edge.runtime.serve.questions import Question, Told
from xsam_edge.runtime.serve.scenes import Kept, Scenes
from xsam_edge.runtime.serve.worker import Answered, Job, Worker

T = TypeVar("T")

_SMALL = 1 << 16  # bytes that take less time to read than to hand to a thread
_MOST_HELPERS = 4


class Service:
    """A model, the pictures that are kept, and the questions that wait.

    ``busy`` are requests that are read, wait or are answered. Made and used in one event loop; ``close`` ends its
    threads, not the model.
    """

    def __init__(self, model: XSam, name: str, limits: Limits) -> None:
        self.model, self.name, self.limits = model, name, limits
        self.metrics = Metrics()
        self.scenes = Scenes(limits)
        self.worker = Worker(model, limits.batch)
        self.busy = 0
        self.ending = False
        self.created = int(time.time())
        self._helpers = ThreadPoolExecutor(min(_MOST_HELPERS, usable_cores()), "xsam-serve")
        self._coming: dict[bytes, asyncio.Task[Kept]] = {}
        self._pace = 0.05  # seconds that a request took of the model lately
        pool = model.language.cache_pool
        self.metrics.gauges += [
            Gauge("xsam_requests_in_progress", "Requests that are read, wait or are answered.", lambda: self.busy),
            Gauge("xsam_queue_depth", "Questions that wait for the model.", lambda: self.worker.waiting),
            Gauge("xsam_requests_limit", "Requests that may be in progress.", lambda: limits.requests),
            Gauge("xsam_scenes", "Pictures that are kept.", lambda: len(self.scenes)),
            Gauge("xsam_scene_picture_bytes", "Memory of their pixels.", lambda: self.scenes.nbytes),
            Gauge("xsam_scene_feature_bytes", "Memory of features and caches.", lambda: pool.nbytes),
            Gauge("process_resident_memory_bytes", "Memory of the process that is resident.", resident_bytes),
        ]

    @property
    def ready(self) -> bool:
        """Whether new requests are taken."""
        return self.worker.alive and not self.ending

    def retry_after(self) -> int:
        """Seconds after which there will probably be room for a request."""
        return max(1, round(self._pace * self.busy))

    async def in_thread(self, work: Callable[[], T], size: int = _SMALL + 1) -> T:
        """Run what would hold up the event loop elsewhere; what is ``size`` bytes small runs at once."""
        if size <= _SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._helpers, work)

    @asynccontextmanager
    async def picture(self, content: bytes | None, scene: str | None) -> AsyncIterator[Kept]:
        """The kept picture of a file's content or by its id, usable within the block.

        Raises:
            RequestError: an unknown id, or no picture.
            InputError: a picture that is damaged or too large.
        """
        kept = self.scenes.get(scene or "") if content is None else await self._keep(content)
        if content is None:
            self.metrics.hits.add()
        with self.scenes.using(kept):
            yield kept

    async def answer(self, kept: Kept, question: Question, told: Told | None = None) -> Answered:
        """Wait for a question's turn, and for its answer. Raises what the scene's method does.

        Cancelling it takes the question back, as far as it is not answered.
        """
        job = Job(kept, question, told)
        loop = asyncio.get_running_loop()
        self.scenes.take(kept)  # until the model's thread is done with it, whoever still waits
        job.future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.scenes.give_back, kept))
        self.worker.submit(job)
        start = time.perf_counter()
        try:
            answered = await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            if job.future.cancelled() and not self.worker.alive:
                raise RequestError(503, "the server is ending; ask another one", None, "ending") from None
            job.abandon()
            raise
        spent = time.perf_counter() - start - answered.waited_ms / 1e3
        share = spent * max(1, len(question.texts)) / answered.batch
        self._pace += 0.1 * (share - self._pace)
        self.metrics.batches.observe(answered.batch)
        return answered

    def timings(self, answered: Answered, began: float) -> dict[str, float]:
        """Milliseconds by stage of one request: those of looking only where it was looked at for this one."""
        stages = {"waiting": answered.waited_ms}
        for index, result in enumerate(answered.results):
            for stage, value in result.timings.items():
                if stage not in LOOKING:
                    stages[stage] = stages.get(stage, 0.0) + value
                elif answered.encoded and not index:
                    stages[stage] = value
        stages["total"] = 1e3 * (time.perf_counter() - began)
        return {stage: round(value, 3) for stage, value in stages.items()}

    def count(self, timings: Mapping[str, float]) -> None:
        """Note the stages of an answered request."""
        for stage, value in timings.items():
            self.metrics.stages.observe(value / 1e3, stage)

    async def close(self) -> None:
        """End the threads; questions that wait are refused."""
        self.ending = True
        await asyncio.get_running_loop().run_in_executor(None, self.worker.close, self.limits.shutdown_seconds)
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self.scenes.clear()

    async def _keep(self, content: bytes) -> Kept:
        digest = await self.in_thread(lambda: hashlib.sha256(content).digest(), len(content))
        while True:
            if (known := self.scenes.find(digest)) is not None:
                self.metrics.hits.add()
                return known
            if (task := self._coming.get(digest)) is None:
                self.metrics.misses.add()
                task = self._coming[digest] = asyncio.create_task(self._prepare(digest, content))
                task.add_done_callback(_look_at_error)
                return await asyncio.shield(task)
            kept = await asyncio.shield(task)  # of another request, with the same picture
            if not kept.dropped:
                self.metrics.hits.add()
                return kept

    async def _prepare(self, digest: bytes, content: bytes) -> Kept:
        try:
            return self.scenes.add(digest, await self.in_thread(lambda: self._prepared(content)))
        finally:
            del self._coming[digest]

    def _prepared(self, content: bytes) -> Prepared:
        start = time.perf_counter()
        picture = decode_picture(content, self.limits)
        prepared = encoding.prepare(picture, self.model.pipeline, self.model.manifest.settings)
        return replace(prepared, ms=1e3 * (time.perf_counter() - start))


def _look_at_error(task: asyncio.Task[Kept]) -> None:
    """An error that nobody waits for any more is no reason to complain."""
    if not task.cancelled():
        task.exception()
