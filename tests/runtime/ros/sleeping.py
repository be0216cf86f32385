"""A model that sleeps in place of computing, and the node with it as a process of its own.

    python -m tests.runtime.ros.sleeping SECONDS [--ros-args ...]

It finds a box in the middle of the image for every name that it is asked for, one pixel further right for each.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.ros.prompts import FramePrompt
from xsam_edge.runtime.stream.stages import FrameQuestion
from xsam_edge.runtime.stream.stream import Stages


def result(task: str, size: tuple[int, int], names: Sequence[str], text: str = "", first: int = 0) -> Result:
    height, width = size
    segments = []
    for number, name in enumerate(names, first):
        mask = np.zeros(size, bool)
        mask[height // 4 : height // 2, width // 4 + number : width // 2 + number] = True
        segments.append(Segment.from_mask(mask, 0.9, name, number))
    return Result(task, tuple(segments), size, text, image=Image.new("RGB", size[::-1]), caption=text)


class SleepingScene:
    """The questions of a scene, answered without looking."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def refer(self, phrases: Sequence[str], **_: Any) -> list[Result]:
        if "crash" in phrases:
            raise BackendError("there is no memory left")
        if "bug" in phrases:
            raise KeyError("a bug")
        return [result("refseg", self.size, [phrase], first=number) for number, phrase in enumerate(phrases)]

    reason = refer

    def categories(self, things: Sequence[str], stuff: Sequence[str], **_: Any) -> Result:
        return result("genseg", self.size, [*things, *stuff])

    def regions(self, boxes: Sequence[Any], points: Sequence[Any], **_: Any) -> Result:
        if any(box[2] > self.size[1] for box in boxes):
            raise InputError(f"the box {boxes[0]} lies outside of the image")
        return result("intseg", self.size, ["region"] * len([*boxes, *points]))

    def describe(self, **_: Any) -> Result:
        return result("gcgseg", self.size, ["a box"], "A box in the middle.")

    def chat(self, question: str, **_: Any) -> Result:
        return Result("chat", (), self.size, f"You asked: {question}", caption="")


class SleepingModel:
    """A ``FrameModel`` whose answers take ``seconds``."""

    backend = None
    facts: Mapping[str, str] = {"backend": "stand-in"}

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.closed = False

    def check(self, prompt: FramePrompt) -> None:
        if "<SEG>" in prompt.text:
            raise InputError("the phrase contains '<SEG>', which controls the model; leave it out")

    def stages(self, ask: FrameQuestion) -> Stages:
        def answer(image: Any) -> tuple[tuple[Result, ...], Mapping[str, float]]:
            time.sleep(self.seconds)
            return self._results(ask(SleepingScene(image.shape[:2]))), {"llm": 1e3 * self.seconds}  # type: ignore[arg-type]

        return Stages(lambda image: image, lambda image: image, answer)

    def answer(self, image: Any, prompt: FramePrompt) -> tuple[Result, ...]:
        time.sleep(self.seconds)
        return self._results(prompt.ask(SleepingScene(image.shape[:2])))  # type: ignore[arg-type]

    def close(self) -> None:
        self.closed = True

    @staticmethod
    def _results(given: Result | Sequence[Result]) -> tuple[Result, ...]:
        return (given,) if isinstance(given, Result) else tuple(given)


def message(stamp_ns: int = 0, **fields: Any) -> SimpleNamespace:
    """A message of no library, with a header."""
    sec, nanosec = divmod(stamp_ns, 10**9)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="camera")
    return SimpleNamespace(header=header, **fields)


if __name__ == "__main__":
    from xsam_edge.runtime.ros.spin import run

    seconds = float(sys.argv[1])
    sys.exit(run(Path("stand-in"), sys.argv[2:], load=lambda parameters: SleepingModel(seconds)))
