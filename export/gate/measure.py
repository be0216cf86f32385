"""What a precision costs, measured where it matters: the masks and tokens of held-out pictures, against FP32's."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.calibration.data.samples import Ask, Caption, Categories, Phrase, Picture, Regions, Task
from xsam_edge.calibration.evaluation.agreement import Agreement, Compared, Recorder
from xsam_edge.calibration.evaluation.run import AskOptions, ask_scene
from xsam_edge.calibration.instrumented import EditedBackend
from xsam_edge.calibration.staged.run import PICTURES, StagedRun, fits_whole
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step, within
from xsam_edge.runtime.results.result import Result

INTERVAL = 1.96  # standard errors on either side of a mean, within which the true one lies in 95 of 100 cases
WORST = 6  # asks that are kept to be looked at


@dataclass(frozen=True, eq=False)
class Worst:
    """An ask whose masks agree least."""

    task: Task
    picture: str
    prompt: str
    iou: float
    image: Image.Image
    reference: npt.NDArray[np.bool_]  # [H, W] of the FP32 bundle, all false where it has no such mask
    mask: npt.NDArray[np.bool_]


_Asking = Callable[[XSam, Picture, AskOptions], None]


@dataclass(frozen=True, eq=False)
class Score:
    """Agreement with FP32. ``stderr`` is that of ``mean_iou`` over pictures; ``tasks`` is ``Agreement.result``."""

    mean_iou: float
    stderr: float
    token_agreement: float | None
    pictures: int
    masks: int
    tasks: dict[Task, dict[str, Any]]
    worst: tuple[Worst, ...]


class Exam:
    """Held-out pictures with what the FP32 bundle answers; asked once, however often others are compared with it.

    A model that is too large to run as a whole runs by stages, and with given answers: then no tokens are compared, and
    captions are left out.
    """

    def __init__(
        self,
        bundle: Path,
        pictures: Iterable[Picture],
        *,
        minutes: float | None = None,
        threads: int = 0,
        progress: Progress,
    ) -> None:
        """Ask the FP32 bundle.

        ``minutes`` bounds the time of these answers and of another bundle's: only so many pictures are asked.

        Raises:
            InputError: there is no picture that can be read.
        """
        self.bundle, self._threads, self._progress = bundle, threads, progress
        self._recorder = Recorder()
        self._whole = fits_whole(read_manifest(bundle))
        # Their pixels and masks are made when they are asked for.
        self._pictures = [picture for picture in pictures if picture.is_readable()]
        if not self._pictures:
            raise InputError("no held-out picture can be read; give calibration data with more pictures")
        backend = None if self._whole else EditedBackend(load_graph, None, threads)
        ask = partial(self._ask_all, bundle, backend, what="gate: FP32 answers", ask=self._record)
        start = time.monotonic()
        ask(pictures=self._pictures[:1])
        each = time.monotonic() - start
        if minutes is not None:
            self._pictures = self._pictures[: max(1, int(60 * minutes / (2 * each)))]
        ask(pictures=self._pictures[1:])

    def _record(self, model: XSam, picture: Picture, options: AskOptions) -> None:
        _ask(model, picture, options, self._recorder.watch)

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self._pictures)

    def first(self, count: int) -> list[Picture]:
        """The first pictures, at most so many."""
        return self._pictures[:count]

    def score(self, bundle: Path, backend: Backend | None = None, *, limit: int | None = None, what: str) -> Score:
        """Ask a bundle the first ``limit`` pictures, through ``backend`` if it is given.

        ``what`` tells the user what is being measured. An ask that the bundle fails at has lost all of its masks.
        """
        marks = _Marks(self._recorder)
        self._ask_all(bundle, backend, self._pictures[: limit or self.pictures], what, marks.ask)
        return marks.score()

    def _ask_all(
        self, bundle: Path, backend: Backend | None, pictures: Sequence[Picture], what: str, ask: _Asking
    ) -> None:
        if not pictures:
            return
        options = AskOptions("greedy" if self._whole else "append", threshold=0.5)
        if self._whole or not isinstance(backend, EditedBackend):
            model = XSam.load(bundle, backend=backend, threads=self._threads, verify="none")
            for done, picture in enumerate(pictures):
                self._progress(Step(what, done, len(pictures), "pictures"))
                ask(model, picture, options)
            return

        def ask_given(model: XSam, picture: Picture, last: bool) -> None:
            if last:
                ask(model, picture, options)
            else:
                _ask(model, picture, options, lambda *_: None, lambda *_: None)

        tell = within(self._progress, what)
        for start in range(0, len(pictures), PICTURES):
            part = pictures[start : start + PICTURES]
            StagedRun(bundle, backend, part, ask_given, self.bundle / "stages", progress=tell).run_all()


class _Marks:
    """Adds up how the answers of a bundle agree with those that were recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._agreement = recorder, Agreement(recorder)
        self._ious: list[list[float]] = []  # by picture
        self._worst: list[tuple[float, int, Worst]] = []

    def ask(self, model: XSam, picture: Picture, options: AskOptions) -> None:
        """Ask all of a picture, and compare."""
        ious: list[float] = []
        image = picture.image()

        def watch(name: str, number: int, ask: Ask, result: Result) -> None:
            compared = self._agreement.watch(name, number, ask, result)
            ious.extend(item.iou for item in compared)
            if compared:
                _keep(self._worst, min(compared, key=lambda item: item.iou), name, ask, image)

        def fail(name: str, number: int) -> None:
            ious.extend([0.0] * max(len(self._recorder.answer(name, number).masks), 1))

        _ask(model, picture, options, watch, fail)
        if ious:
            self._ious.append(ious)

    def score(self) -> Score:
        """All of it. Raises InputError where there is no mask to compare."""
        if not self._ious:
            raise InputError("the held-out pictures ask for no mask; give calibration data with prompts that segment")
        means = np.array([np.mean(ious) for ious in self._ious])
        counts = np.array([len(ious) for ious in self._ious])
        mean = float((means * counts).sum() / counts.sum())
        # Masks of one picture fail together, so that pictures are what is drawn at random.
        spread, count = counts / counts.mean() * (means - mean), len(self._ious)
        stderr = float(np.sqrt(np.square(spread).sum() / max(count * (count - 1), 1)))
        tasks = self._agreement.result()
        ordered = tuple(item for _, _, item in sorted(self._worst, key=lambda entry: -entry[0]))
        return Score(mean, stderr, _tokens(tasks), count, int(counts.sum()), tasks, ordered)


def _ask(
    model: XSam,
    picture: Picture,
    options: AskOptions,
    watch: Callable[[str, int, Ask, Result], object],
    fail: Callable[[str, int], None] | None = None,
) -> None:
    """Ask all of a picture. ``fail`` is told of asks that the model cannot answer; without it they are errors."""
    with model.look(picture.image()) as scene:
        for number, ask in enumerate(picture.asks):
            if options.answer == "append" and isinstance(ask, Caption):
                continue
            try:
                result = ask_scene(scene, ask, options)
            except XSamError:  # numbers that are not finite, an answer without end
                if fail is None:
                    raise
                fail(picture.name, number)
            else:
                watch(picture.name, number, ask, result)


def _tokens(tasks: dict[Task, dict[str, Any]]) -> float | None:
    shares = [(facts["equal_tokens"], facts["n"]) for facts in tasks.values() if facts["equal_tokens"] is not None]
    return sum(share * n for share, n in shares) / sum(n for _, n in shares) if shares else None


def _keep(
    worst: list[tuple[float, int, Worst]], compared: Compared, picture: str, ask: Ask, image: Image.Image
) -> None:
    if len(worst) == WORST and -compared.iou <= worst[0][0]:
        return
    empty = np.zeros((image.height, image.width), bool)
    first = compared.first if compared.first is not None else empty
    second = compared.second if compared.second is not None else empty
    item = Worst(ask.task, picture, prompt_of(ask), compared.iou, image, first, second)
    entry = (-compared.iou, len(worst) if len(worst) < WORST else worst[0][1], item)
    if len(worst) < WORST:
        heapq.heappush(worst, entry)
    else:
        heapq.heapreplace(worst, entry)


def prompt_of(ask: Ask) -> str:
    """An ask in a few words."""
    if isinstance(ask, Phrase):
        return ask.text
    if isinstance(ask, Categories):
        return f"{len(ask.names)} categories"
    if isinstance(ask, Regions):
        return "what resembles the regions" if ask.similar else f"the object under a {ask.kind or 'region'}"
    assert isinstance(ask, Caption)
    return "describe the picture"


def decibels(signal: float, noise: float) -> float | None:
    """A ratio of energies in dB, None where there is no noise."""
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None
