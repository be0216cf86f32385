"""The thread that answers frames. Callbacks only lay messages down; everything that takes time is done here.

An error that a user can mend, and one that nobody foresaw, is told once and does not end the node: the stream is begun
anew a second later, or with the next prompt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xsam_edge.runtime.errors import ImageError, InputError, XSamError
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.ros.faults import Faults
from xsam_edge.runtime.ros.model import FrameModel
from xsam_edge.runtime.ros.prompts import FramePrompt
from xsam_edge.runtime.ros.source import MessageSource
from xsam_edge.runtime.ros.statistics import Statistics
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.stream.answers import FrameResult
from xsam_edge.runtime.stream.stream import FrameStream, Policy, Stages
from xsam_edge.runtime.stream.tracked import TrackedStream
from xsam_edge.runtime.tracking.tracker import Tracker

_PAUSE = 1.0  # seconds after an error
_LASTS = 5.0  # seconds that the fault of one frame stands in the diagnostics
Deliver = Callable[[FrameResult, FramePrompt], None]
ImageOf = Callable[[Any], ImageSource]  # of a message; raises ImageError


@dataclass(frozen=True)
class Work:
    """What a worker does with messages: read them, answer them, deliver what was found.

    With a ``tracker`` things keep their identities, also where a stream begins anew.
    """

    model: FrameModel
    image_of: ImageOf
    deliver: Deliver
    tracker: Tracker | None = None


class Worker:
    """Answers the newest message, one at a time, from ``start`` to ``stop``."""

    def __init__(
        self, work: Work, policy: Policy, prompt: FramePrompt | None, statistics: Statistics, faults: Faults
    ) -> None:
        self._work = work
        self._policy = policy
        self._statistics = statistics
        self._faults = faults
        self._prompt = prompt
        self._asked = prompt  # what the last answer was asked
        self._lock = threading.Lock()
        self._source: MessageSource | None = None
        self._ended = False
        self._changed = threading.Event()  # ends a pause
        self._thread = threading.Thread(target=self._run, daemon=True, name="xsam-worker")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether a message is taken now: not in the pause after an error, nor while a stream begins."""
        return self._source is not None

    def put(self, message: Any) -> None:
        """Lay a message down; one thread at a time may call it."""
        self._statistics.received(time.monotonic())
        source = self._source
        if source is None or self._prompt is None:
            self._statistics.dropped()
        else:
            source.put(message)

    def ask(self, prompt: FramePrompt) -> None:
        """Ask this from the next frame on."""
        self._prompt = prompt
        self._faults.over("model")
        self._changed.set()

    def follow(self, policy: Policy) -> None:
        """Keep another deadline, or clock, from the next frame on."""
        with self._lock:
            if policy != self._policy:
                self._policy = policy
                self._end_source()

    def stop(self, patience: float) -> bool:
        """End, and wait ``patience`` seconds for what runs now; False when that still runs."""
        with self._lock:
            self._ended = True
            self._end_source()
        self._changed.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _end_source(self) -> None:
        """The stream ends too: at once where it waits, else behind the frame that it is at."""
        if self._source is not None:
            self._source.stop()
            self._source = None

    def _run(self) -> None:
        while (stream := self._open()) is not None:
            try:
                with stream:
                    for seen in stream:
                        if seen.late:
                            self._statistics.late(seen.dropped)
                        else:
                            self._deliver(seen)
                        if self._source is None:
                            break
            except ImageError:
                pass  # of a stream in which nothing else came; it was told
            except XSamError as error:
                self._pause(error)
            except Exception as error:  # a bug, or a library's: the node lives, and says so
                self._pause(f"{type(error).__name__}: {error}")

    def _open(self) -> FrameStream | None:
        with self._lock:
            if self._ended:
                self._source = None
                return None
            self._source = MessageSource(self._statistics.dropped)
            if self._work.tracker is None:
                return FrameStream(self._source, self._stages(), self._policy)
            return TrackedStream(self._source, self._stages(), self._policy, self._work.tracker)

    def _stages(self) -> Stages:
        stages = self._work.model.stages(self._ask)

        def prepare(message: Any) -> Any:
            try:
                return stages.prepare(self._work.image_of(message))
            except InputError as error:
                self._statistics.damaged()
                self._faults.tell(time.monotonic(), "image", error, lasts=_LASTS)
                raise ImageError(str(error)) from error  # which the stream leaves out

        return replace(stages, prepare=prepare)

    def _ask(self, scene: Scene) -> Result | Sequence[Result]:
        prompt = self._asked = self._prompt
        if prompt is None:
            raise InputError("there is no prompt")  # no message is taken without one
        return prompt.ask(scene)

    def _deliver(self, seen: FrameResult) -> None:
        if self._ended:
            return
        self._statistics.answered(time.monotonic(), seen.age_ms, seen.dropped)
        self._faults.over("model")
        if self._asked is not None:
            self._work.deliver(seen, self._asked)

    def _pause(self, error: object) -> None:
        self._changed.clear()
        with self._lock:
            self._source = None
            if self._ended:
                return
        self._faults.tell(time.monotonic(), "model", error)
        self._changed.wait(_PAUSE)
