"""The run: look at every picture once, ask all that is asked of it, judge the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from xsam_edge.calibration.data.samples import TASKS, Ask, Caption, Categories, DataSet, Phrase, Picture, Regions, Task
from xsam_edge.calibration.evaluation.average_precision import require_average_precision
from xsam_edge.calibration.evaluation.captions import CaptionMetrics
from xsam_edge.calibration.evaluation.instances import InstanceMetrics
from xsam_edge.calibration.evaluation.panoptic import PanopticMetrics
from xsam_edge.calibration.evaluation.phrases import PhraseMetrics
from xsam_edge.calibration.evaluation.regions import KEPT, RegionMetrics
from xsam_edge.calibration.evaluation.rejection import Scores
from xsam_edge.calibration.evaluation.semantic import SemanticMetrics
from xsam_edge.runtime.asking import AnswerMode
from xsam_edge.runtime.bundle.settings import Referring
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.postprocess.readers import Threshold
from xsam_edge.runtime.progress import Progress, Step, silent
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

MAX_UNREADABLE = 0.05  # of the pictures
_PRECISION_TASKS = ("instances", "regions")

REFERRING: tuple[Referring, ...] = ("refer", "reason")
"""Methods of a scene that ask for one thing, which may be absent."""


class Model(Protocol):
    """What looks at images: an ``XSam``."""

    def look(self, image: Image.Image) -> Scene:
        """Encode an image."""


@dataclass(frozen=True)
class AskOptions:
    """How to ask.

    ``threshold`` is the score to keep a panoptic segment, 0..1; ``rejection`` the one below which all else counts as
    absent, or the official rule, or thresholds of ``refer`` and ``reason`` alone. A bundle's own are never taken
    unless they are given here. The official benchmarks append the answer and keep every panoptic segment. Average
    precision is taken over all scores.
    """

    answer: AnswerMode = "greedy"
    threshold: float = 0.0
    rejection: Threshold | Mapping[Referring, float] = "official"

    def rejects(self, method: Referring | None = None) -> Threshold:
        """Below which score that which a method asks for counts as absent; None stands for the other ones."""
        if isinstance(self.rejection, Mapping):
            return "official" if method is None else self.rejection.get(method, "official")
        return self.rejection


@dataclass(frozen=True)
class Evaluation:
    """What a run found: metrics by task, the names of pictures that could not be read, scores by what was called."""

    tasks: dict[Task, dict[str, Any]]
    pictures: int
    unreadable: tuple[str, ...]
    seconds: float
    scores: Mapping[Referring, Scores] = field(default_factory=dict)


Watch = Callable[[str, int, Ask, Result], object]
"""Called with a picture's name, the number of the ask in it, the ask and the answer."""


def evaluate(
    model: Model,
    data: DataSet,
    tasks: Sequence[Task] = (),
    *,
    limit: int | None = None,
    options: AskOptions | None = None,
    progress: Progress = silent,
    watch: Watch | None = None,
) -> Evaluation:
    """Ask ``model`` all that ``data`` asks.

    Args:
        model: a loaded bundle.
        data: an opened data set.
        tasks: those to ask; all of the data set by default.
        limit: how many pictures to look at; all by default.
        options: how to ask.
        progress: told of each picture before it is looked at.
        watch: see ``Watch``.

    Raises:
        InputError: a task that the data have no asks for, no picture, more than ``MAX_UNREADABLE`` of the images
            unreadable, or a prompt that the model cannot take.
        XSamError: average precision is asked for, but pycocotools is not installed.
    """
    options = options or AskOptions()
    chosen = choose_tasks(data, tasks)
    total = data.count(chosen, limit)
    if not total:
        raise InputError(f"{data.name} has no picture to evaluate; give a limit of at least 1")
    start = time.perf_counter()
    metrics = _Metrics(options)
    unreadable: list[str] = []
    for done, picture in enumerate(data.pictures(chosen, limit)):
        progress(Step("evaluate", done, total, "pictures"))
        if not _look(model, picture, options, metrics, watch):
            unreadable.append(picture.name)
        if len(unreadable) > MAX_UNREADABLE * total:
            raise InputError(
                f"{len(unreadable)} of {done + 1} images of {data.name} cannot be read, such as {unreadable[0]}; "
                f"at most {MAX_UNREADABLE:.0%} may be missing or damaged"
            )
    return Evaluation(metrics.result(), total, tuple(unreadable), time.perf_counter() - start, metrics.scores())


def choose_tasks(data: DataSet, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """``tasks``, or all of ``data``, in the usual order; those of average precision only where it can be computed, or
    were asked for by name. Raises as ``evaluate`` does, before any work.
    """
    if missing := [task for task in tasks if task not in data.tasks]:
        raise InputError(f"{data.name} asks nothing of {', '.join(missing)}; it has {', '.join(data.tasks)}")
    chosen = tuple(task for task in TASKS if task in (tasks or data.tasks))
    others = tuple(task for task in chosen if task not in _PRECISION_TASKS)
    if others != chosen:
        try:
            require_average_precision()
        except XSamError:
            if tasks or not others:
                raise
            return others
    return chosen


def asked_by(ask: Phrase) -> Referring:
    """The method of a scene that a phrase is asked by."""
    return "refer" if ask.short else ask.task


def ask_scene(scene: Scene, ask: Ask, options: AskOptions) -> Result:
    """Put one question to an image that was looked at."""
    answer = options.answer
    if isinstance(ask, Phrase):
        method = asked_by(ask)
        ask_phrase = scene.refer if method == "refer" else scene.reason
        return ask_phrase(ask.text, answer=answer, several=ask.several, threshold=options.rejects(method))
    if isinstance(ask, Regions):
        threshold = 0.0 if ask.similar else options.rejects()
        prompts = [prompt() for prompt in ask.prompts]
        return scene.regions(masks=prompts, similar=ask.similar, threshold=threshold, answer=answer)
    if isinstance(ask, Caption):
        return scene.describe(threshold=options.rejects())
    things, stuff = ask.names[: ask.things], ask.names[ask.things :]
    if ask.task == "instances":
        return scene.categories(things, instances=True, threshold=0.0, answer=answer)
    if ask.task == "semantic":
        return scene.categories(things, stuff, semantic=True, threshold=options.rejects(), answer=answer)
    threshold = options.threshold
    return scene.categories(things, stuff, instances=False, semantic=False, threshold=threshold, answer=answer)


def _look(model: Model, picture: Picture, options: AskOptions, metrics: _Metrics, watch: Watch | None) -> bool:
    """Ask all of one picture; false where its image cannot be read."""
    if not picture.asks:
        return True
    try:
        image = picture.image()
    except OSError:
        return False
    with model.look(image) as scene:
        for number, ask in enumerate(picture.asks):
            result = ask_scene(scene, ask, options)
            metrics.add(ask, result)
            if watch:
                watch(picture.name, number, ask, result)
    return True


class _Metrics:
    """The metrics of every task that was asked; each is made at its first ask."""

    def __init__(self, options: AskOptions) -> None:
        self._options = options
        self._scores: dict[Referring, tuple[list[float], list[float]]] = {}  # of what is there, and of the absent
        self._phrases: dict[Task, PhraseMetrics] = {}
        self._panoptic: PanopticMetrics | None = None
        self._semantic: SemanticMetrics | None = None
        self._instances: InstanceMetrics | None = None
        self._regions: RegionMetrics | None = None
        self._captions: CaptionMetrics | None = None
        self._names: dict[Task, tuple[str, ...]] = {}

    def add(self, ask: Ask, result: Result) -> None:
        """Judge one answer."""
        if isinstance(ask, Phrase):
            rule = self._options.rejects(ask.task)
            self._phrases.setdefault(ask.task, PhraseMetrics(rule)).add(ask, result)
            self._scores.setdefault(asked_by(ask), ([], []))[ask.mask is None].append(result.best_score or 0.0)
        elif isinstance(ask, Regions):
            kept = self._options.rejects()
            self._regions = self._regions or RegionMetrics(KEPT if kept == "official" else kept)
            self._regions.add(ask, result)
        elif isinstance(ask, Caption):
            self._captions = self._captions or CaptionMetrics()
            self._captions.add(ask, result)
        else:
            self._add_categories(ask, result)

    def _add_categories(self, ask: Categories, result: Result) -> None:
        if self._names.setdefault(ask.task, ask.names) != ask.names:
            raise InputError(f"{ask.task} asks for other categories in one picture than in another; expected the same")
        if ask.task == "panoptic":
            self._panoptic = self._panoptic or PanopticMetrics(ask.names, ask.things)
            self._panoptic.add(ask, result)
        elif ask.task == "semantic":
            self._semantic = self._semantic or SemanticMetrics(ask.names)
            self._semantic.add(ask, result)
        else:
            self._instances = self._instances or InstanceMetrics(ask.things)
            self._instances.add(ask, result)

    def scores(self) -> dict[Referring, Scores]:
        """The scores of phrases, by what they were asked by."""
        return {method: Scores(*self._scores[method]) for method in REFERRING if method in self._scores}

    def result(self) -> dict[Task, dict[str, Any]]:
        """The metrics of every task that was asked, in the usual order."""
        made = {
            **self._phrases,
            "panoptic": self._panoptic,
            "semantic": self._semantic,
            "instances": self._instances,
            "regions": self._regions,
            "captions": self._captions,
        }
        return {task: metric.result() for task in TASKS if (metric := made.get(task)) is not None}
