"""Frames through stages: what runs beside what, which frame is skipped, and when a result is too late.

Knows threads, clocks and deadlines; knows nothing of models. A thread reads the source and another prepares the newest
frame while the graphs work on the one before; with ``overlap`` a third encodes it. ``answer`` runs where the stream is
iterated or, so that a deadline can be kept, on a thread of its own: never two at a time.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.frame import SourceFrame
from xsam_edge.runtime.stream.slot import Slot, relay

# A source that is no longer needed and does not return within this many seconds is left to end by itself.
PATIENCE = 5.0
_LOOK = 0.02  # seconds after which another clock than the machine's is looked at again
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stages:
    """The three stages of a frame; each takes what the one before returned.

    ``prepare`` and ``encode`` must be safe beside ``answer`` of another frame, ``encode`` only where stages overlap.
    ``answer`` returns the results and the milliseconds of every stage.
    """

    prepare: Callable[[Any], Any]
    encode: Callable[[Any], Any]
    answer: Callable[[Any], tuple[tuple[Result, ...], Mapping[str, float]]]


@dataclass(frozen=True)
class Policy:
    """``latest`` skips to the newest frame, else every frame is answered. ``deadline`` is an age in milliseconds.

    ``overlap`` encodes the next frame while one is answered. With ``clock`` a frame's age is ``clock()`` minus its
    timestamp, both in seconds. Without, it counts from when the frame arrived; where frames are read at will and none
    is skipped, from when its turn came. A damaged frame ends the stream if ``strict``, else it is left out.
    """

    latest: bool = True
    deadline: float | None = None
    overlap: bool = False
    clock: Callable[[], float] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        arguments.flag("strict", self.strict)
        arguments.flag("latest", self.latest)
        arguments.flag("overlap", self.overlap)
        if self.deadline is not None:
            deadline = arguments.number("deadline", self.deadline, above=0, what="milliseconds")
            object.__setattr__(self, "deadline", deadline)  # no scalar of NumPy, which a wait does not take
        if self.clock is not None:
            arguments.function("clock", self.clock)


@dataclass
class Counts:
    """What became of the frames so far."""

    answered: int = 0
    late: int = 0
    dropped: int = 0
    damaged: int = 0


class FrameStream(Iterator["FrameResult | Late"]):
    """Results in the order of their frames. Close it, or leave its ``with`` block, to stop before the source ends.

    Several threads may iterate it, and each result comes to one of them.
    """

    def __init__(self, frames: Iterable[Any], stages: Stages, policy: Policy) -> None:
        self.counts = Counts()
        self._slots = [Slot[_Item](policy.latest), Slot[_Item](policy.latest)]
        if policy.overlap:
            # One ahead and no more: an encoded frame that is thrown away is the dearest.
            self._slots.append(Slot[_Item](latest=False))
        # A function of the module: one of the object would keep an abandoned stream, and its threads, alive.
        self._items: Generator[FrameResult | Late, None, None] = _deliver(
            frames, stages, policy, self.counts, self._slots
        )
        self._iterating = threading.Lock()

    def __next__(self) -> FrameResult | Late:
        with self._iterating:
            return next(self._items)

    def close(self) -> None:
        """Stop the threads and wait for them; a graph that runs is not interrupted.

        While another thread waits for a result, that one's iteration ends, and ends the threads.
        """
        for slot in self._slots:
            slot.close()
        if self._iterating.acquire(blocking=False):
            try:
                self._items.close()
            finally:
                self._iterating.release()

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class _Item:
    """A frame on its way."""

    index: int
    frame: SourceFrame
    since: float  # the moment that its age counts from, in seconds of time.monotonic
    value: Any
    stage: str = "waiting"
    late: bool = False  # nobody waits for it any more
    damage: ImageError | None = None

    def age(self, policy: Policy) -> float:
        """Seconds."""
        if policy.clock is not None and self.frame.timestamp is not None:
            return arguments.number("what clock gives", policy.clock(), what="seconds") - self.frame.timestamp
        return time.monotonic() - self.since


class _LeftOut:
    """Frames that are left out because they are damaged: logged and counted."""

    def __init__(self, counts: Counts) -> None:
        self.first: ImageError | None = None
        self._counts = counts
        self._indices: list[int] = []

    def add(self, item: _Item) -> None:
        """Leave a frame out."""
        _log.warning("frame %s is left out: %s", item.frame.name or item.index, item.damage)
        self.first = self.first or item.damage
        self._counts.damaged += 1
        self._indices.append(item.index)

    def before(self, index: int) -> int:
        """How many before this one were left out since the last time that was asked."""
        passed = sum(left_out < index for left_out in self._indices)
        self._indices = [left_out for left_out in self._indices if left_out > index]
        return passed


def _deliver(
    frames: Iterable[Any], stages: Stages, policy: Policy, counts: Counts, slots: Sequence[Slot[_Item]]
) -> Generator[FrameResult | Late, None, None]:  # nothing starts before the first result is asked for
    lives: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (_read, (frames, slots[0])),
        (relay, (slots[0], slots[1], _work(stages.prepare, policy.strict))),
    ]
    if policy.overlap:
        lives.append((relay, (slots[1], slots[2], _work(stages.encode, policy.strict))))
    threads = [
        threading.Thread(target=life, args=arguments, daemon=True, name=f"xsam-{life.__name__.strip('_')}")
        for life, arguments in lives
    ]
    pool = ThreadPoolExecutor(1, "xsam-answer") if policy.deadline is not None else None
    try:
        for thread in threads:
            thread.start()
        yield from _answer(slots[-1], stages, policy, pool, counts)
    finally:
        for slot in slots:
            slot.close()
        if callable(stop := getattr(frames, "stop", None)):  # a range has a stop too, a number
            stop()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        for thread in threads:
            thread.join(PATIENCE)
        if threads[0].is_alive():
            warnings.warn(
                "the source of a stream still waits for a frame; its thread ends with the next one",
                ResourceWarning,
                stacklevel=2,
            )


def _answer(
    items: Slot[_Item], stages: Stages, policy: Policy, pool: ThreadPoolExecutor | None, counts: Counts
) -> Iterator[FrameResult | Late]:
    def run(item: _Item) -> tuple[tuple[Result, ...], Mapping[str, float]]:
        if not policy.overlap:
            item.stage = "image_encoder"
            item.value = stages.encode(item.value)
        if item.late:
            return (), {}
        item.stage = "answer"
        return stages.answer(item.value)

    def left(item: _Item) -> float:
        return min(max(0.0, 1e-3 * (policy.deadline or 0.0) - item.age(policy)), threading.TIMEOUT_MAX)

    def done_in_time(job: Future[Any], item: _Item) -> bool:
        """Wait for a job until it is done or the frame is too old, by a clock that may run at another rate."""
        while not job.done() and (seconds := left(item)) > 0:
            wait([job], seconds if policy.clock is None else min(seconds, _LOOK))
        return job.done()

    def dropped(item: _Item) -> int:
        skipped = item.index - last - 1 - left_out.before(item.index)
        counts.dropped += skipped
        return skipped

    def late(item: _Item) -> Late:
        counts.late += 1
        item.late = True
        facts = (item.index, item.frame.timestamp, item.frame.name, 1e3 * item.age(policy), dropped(item))
        return Late(*facts, policy.deadline or 0.0, item.stage, item.frame.stamp_ns, item.frame.origin)

    last, job = -1, None  # the last frame that was delivered; what is still at work on a late one
    left_out = _LeftOut(counts)
    while (item := items.take()) is not None:
        if item.damage is not None:
            left_out.add(item)
            continue
        if not policy.latest and item.frame.arrived is None:
            item.since = time.monotonic()
        if job is not None:
            if not done_in_time(job, item):
                yield late(item)
                last = item.index
                continue
            job.result()  # an error is not lost because its frame was late
            job = None
            if policy.latest and (newer := items.take_newer()) is not None:
                if newer.damage is None:
                    item = newer
                else:
                    left_out.add(newer)
        if pool is None:
            results, timings = run(item)
        else:
            answer: Future[tuple[tuple[Result, ...], Mapping[str, float]]] | None = None
            if left(item) > 0:
                answer = pool.submit(run, item)
            if answer is None or not done_in_time(answer, item) or left(item) <= 0:
                yield late(item)
                last, job = item.index, answer
                continue
            results, timings = answer.result()
        age = 1e3 * item.age(policy)
        facts = (item.index, item.frame.timestamp, item.frame.name, age, dropped(item))
        counts.answered += 1
        last = item.index
        timings = {"waiting": max(0.0, age - sum(timings.values())), **timings}
        yield FrameResult(*facts, timings, results, item.frame.stamp_ns, item.frame.origin)
    if job is not None:
        job.result()
    if left_out.first is not None and last < 0:
        raise left_out.first


def _work(stage: Callable[[Any], Any], strict: bool) -> Callable[[_Item], _Item]:
    def work(item: _Item) -> _Item:
        if item.damage is None:
            try:
                item.value = stage(item.value)
            except ImageError as damage:
                if strict:
                    raise
                item.damage = damage
        return item

    return work


def _read(frames: Iterable[Any], target: Slot[_Item]) -> None:
    """A thread's whole life: number the frames of a source and put them into ``target``."""
    error: BaseException | None = None
    try:
        iterator = iter(frames)
        try:
            for index, item in enumerate(iterator):
                frame = _frame(item)
                since = frame.arrived if frame.arrived is not None else time.monotonic()
                if not target.put(_Item(index, frame, since, frame.image)):
                    break
        finally:
            if (close := getattr(iterator, "close", None)) is not None:
                close()  # here, where a generator has run, and not whenever it is collected
    except BaseException as raised:
        error = raised
    target.finish(error)


def _frame(item: Any) -> SourceFrame:
    """A frame of a user's own iterable: an image, or (timestamp, image)."""
    if isinstance(item, SourceFrame):
        return item
    if isinstance(item, tuple):
        if len(item) != 2:
            raise InputError("a frame must be an image or (seconds, image), not another tuple")
        return SourceFrame(item[1], arguments.number("a frame's timestamp", item[0], what="seconds"))
    return SourceFrame(item)
