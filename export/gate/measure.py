"""What a precision costs, measured where it matters: the masks and tokens of held-out pictures, against FP32's."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.calibration.data.samples import Ask, Caption, Categories, Phrase, Picture, Regions, Task
from xsam_edge.calibration.evaluation.agreement import Agreement, Compared, Recorder
from xsam_edge.calibration.evaluation.run import AskOptions, ask_scene
from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step
from xsam_edge.runtime.results.result import Result

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
    """Held-out pictures with what the FP32 bundle answers; asked once, however often others are compared with it."""

    def __init__(self, bundle: Path, pictures: Iterable[Picture], *, threads: int = 0, progress: Progress) -> None:
        """Raises InputError if there is no picture that can be read, and no mask to compare."""
        self.bundle, self._threads, self._progress = bundle, threads, progress
        self._recorder = Recorder()
        self._pictures = list(pictures)  # their pixels and masks are made when they are asked for
        unreadable: set[str] = set()
        model = XSam.load(bundle, threads=threads, verify="none")
        for picture, image in self._images(len(self._pictures), "gate: FP32 answers"):
            if image is None:
                unreadable.add(picture.name)
                continue
            _ask(model, picture, image, self._recorder.watch)
        self._pictures = [picture for picture in self._pictures if picture.name not in unreadable]
        if not self._pictures:
            raise InputError("no held-out picture can be read; give calibration data with more pictures")

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self._pictures)

    def score(self, bundle: Path, backend: Backend | None = None, *, limit: int | None = None, what: str) -> Score:
        """Ask a bundle the first ``limit`` pictures, through ``backend`` if it is given.

        ``what`` tells the user what is being measured. An ask that the bundle fails at has lost all of its masks.
        """
        model = XSam.load(bundle, backend=backend, threads=self._threads, verify="none")
        agreement = Agreement(self._recorder)
        ious: list[list[float]] = []
        worst: list[tuple[float, int, Worst]] = []
        for picture, image in self._images(limit or self.pictures, what):
            assert image is not None
            picture_ious: list[float] = []

            def watch(name: str, number: int, ask: Ask, result: Result) -> None:
                compared = agreement.watch(name, number, ask, result)
                picture_ious.extend(item.iou for item in compared)  # noqa: B023 - called before the next picture
                if compared:
                    _keep(worst, min(compared, key=lambda item: item.iou), name, ask, image)  # noqa: B023

            def fail(name: str, number: int) -> None:
                lost = len(self._recorder.answer(name, number).masks)
                picture_ious.extend([0.0] * max(lost, 1))  # noqa: B023

            _ask(model, picture, image, watch, fail)
            if picture_ious:
                ious.append(picture_ious)
        if not ious:
            raise InputError("the held-out pictures ask for no mask; give calibration data with prompts that segment")
        means = np.array([np.mean(picture_ious) for picture_ious in ious])
        counts = np.array([len(picture_ious) for picture_ious in ious])
        mean = float((means * counts).sum() / counts.sum())
        # Masks of one picture fail together, so that pictures are what is drawn at random.
        spread = counts / counts.mean() * (means - mean)
        stderr = float(np.sqrt(np.square(spread).sum() / max(len(ious) * (len(ious) - 1), 1)))
        tasks = agreement.result()
        ordered = tuple(item for _, _, item in sorted(worst, key=lambda entry: -entry[0]))
        return Score(mean, stderr, _tokens(tasks), len(ious), int(counts.sum()), tasks, ordered)

    def _images(self, limit: int, what: str) -> Iterable[tuple[Picture, Image.Image | None]]:
        chosen = self._pictures[:limit]
        for done, picture in enumerate(chosen):
            self._progress(Step(what, done, len(chosen), "pictures"))
            try:
                yield picture, picture.image()
            except OSError:
                yield picture, None


def _ask(
    model: XSam,
    picture: Picture,
    image: Image.Image,
    watch: Callable[[str, int, Ask, Result], object],
    fail: Callable[[str, int], None] | None = None,
) -> None:
    """Ask all of a picture. ``fail`` is told of asks that the model cannot answer; without it they are errors."""
    with model.look(image) as scene:
        for number, ask in enumerate(picture.asks):
            try:
                result = ask_scene(scene, ask, AskOptions(threshold=0.5))
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
