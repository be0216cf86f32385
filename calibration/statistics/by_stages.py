"""The pass over calibration data one stage at a time, for models whose FP32 weights do not fit into memory.

What each stage adds is saved when it is through, and what waits for the next lies beside: a run that was interrupted
goes on with the stage that it was at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from xsam_edge.calibration.data.samples import Caption, Picture
from xsam_edge.calibration.evaluation.run import AskOptions, ask_scene
from xsam_edge.calibration.instrumented import EditedBackend
from xsam_edge.calibration.staged.estimate import seconds_per_picture
from xsam_edge.calibration.staged.run import PICTURES, StagedRun
from xsam_edge.calibration.statistics.store import Saved, save
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step
from xsam_edge.runtime.units import duration

# The last rows that the language model's head is asked for: those of an answer of a known form.
ANSWER_ROWS = 16


def ask_given(model: XSam, picture: Picture) -> None:
    """Ask all of a picture with given answers. A caption has none: of it, the prompt is read.

    Raises:
        OSError: its image cannot be read.
        XSamError: an ask does not fit the model; names the picture.
    """
    image = picture.image()
    try:
        with model.look(image) as scene:
            for ask in picture.asks:
                if isinstance(ask, Caption):
                    scene.describe(max_new_tokens=1)
                else:
                    ask_scene(scene, ask, AskOptions("append"))
    except XSamError as error:
        raise type(error)(f"{picture.name}: {error}") from error


class Collector:
    """Adds the statistics of pictures to a state, stage by stage.

    Args:
        bundle: in FP32.
        backend: with probes, which add to ``state`` while :attr:`listens` is true.
        state: what there is already.
        path: where it is saved; what waits from stage to stage lies beside.
        unreadable: called with the name of each picture that cannot be read.
        progress: told of each picture, and of each prompt of the language model.
    """

    def __init__(
        self,
        bundle: Path,
        backend: EditedBackend,
        state: Saved,
        path: Path,
        unreadable: Callable[[str], None],
        progress: Progress,
    ) -> None:
        self.listens = True
        self._bundle, self._backend, self._state, self._path = bundle, backend, state, path
        self._unreadable, self._progress = unreadable, progress

    def go_on(self, pictures: Sequence[Picture]) -> None:
        """Look at all that are left; raises as :meth:`StagedRun.run`, and what ``unreadable`` raises."""
        state = self._state
        if self._backend.device == "cpu":  # whose speed is known
            self._estimate(pictures[state.done : state.total])
        while not state.is_whole:
            stop = min(state.done + PICTURES, state.total)
            run = StagedRun(
                self._bundle,
                self._backend,
                [pictures[index] for index in range(state.done, stop)],
                self._ask,
                self._path.with_suffix(".stages"),
                answer_rows=ANSWER_ROWS,
                progress=self._telling(state.done, stop),
            )
            for stage in range(state.stage if run.has(state.stage) else 0, run.stages):
                self.listens = stage >= state.stage
                run.run(stage)
                run.mark(stage + 1)
                if self.listens:
                    state.stage = stage + 1
                    if state.stage == run.stages:
                        state.done, state.stage = stop, 0
                    save(self._path, state)
            run.clear()

    def _estimate(self, left: Sequence[Picture]) -> None:
        first = left[:PICTURES]
        each = seconds_per_picture(self._bundle, sum(len(picture.asks) for picture in first) / max(len(first), 1))
        about = f"calibration: {len(left)} pictures will take about {duration(len(left) * each)}, {duration(each)} each"
        self._progress(Step(about, note=True))

    def _ask(self, model: XSam, picture: Picture, last: bool) -> None:
        try:
            ask_given(model, picture)
        except OSError:
            if not last and self.listens:
                self._unreadable(picture.name)

    def _telling(self, start: int, stop: int) -> Progress:
        total = self._state.total

        def tell(step: Step) -> None:
            detail = "" if stop - start == total else f"(pictures {start + 1} to {stop} of {total})"
            self._progress(replace(step, what=f"calibration: {step.what}", detail=detail))

        return tell
