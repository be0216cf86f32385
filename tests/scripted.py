"""Data sets in memory and a model that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.calibration.data.samples import TASKS, Ask, Picture, Task
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

SIZE = (8, 10)


def block(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask with one rectangle set."""
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def lazy(mask: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: mask


def answer(*segments: Segment, size: tuple[int, int] = SIZE, **fields: Any) -> Result:
    return Result("task", segments, size, **fields)


def one(mask: np.ndarray, score: float = 0.9, label: int = 0, **fields: Any) -> Result:
    """An answer with one segment."""
    segment = Segment.from_mask(mask, score, f"label {label}", label)
    return answer(segment, size=mask.shape, **{"best_score": score, **fields})


def id_map(*segments: Segment, size: tuple[int, int] = SIZE) -> Result:
    """A panoptic answer: segments get ids from 1 on, later ones hide earlier ones."""
    numbers = np.zeros(size, np.int32)
    for number, segment in enumerate(segments, 1):
        numbers[segment.mask] = number
    numbered = tuple(replace(segment, id=number) for number, segment in enumerate(segments, 1))
    return Result("task", numbered, size, id_map=numbers)


@dataclass
class Scene:
    """Replies to every question through the model's ``reply(method, arguments)``."""

    model: Model
    image: Image.Image

    def __getattr__(self, method: str) -> Callable[..., Result]:
        def ask(*arguments: Any, **options: Any) -> Result:
            self.model.calls.append((method, arguments, options))
            return self.model.reply(method, arguments)

        return ask

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.closed += 1


@dataclass
class Model:
    reply: Callable[[str, tuple[Any, ...]], Result]
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    closed: int = 0

    def look(self, image: Image.Image) -> Scene:
        return Scene(self, image)


@dataclass
class Data:
    """Pictures of one colour, each with asks; a name in ``broken`` cannot be read."""

    asks: Mapping[str, Sequence[Ask]]
    broken: tuple[str, ...] = ()
    name: str = "scripted"

    @property
    def tasks(self) -> tuple[Task, ...]:
        held = {ask.task for asks in self.asks.values() for ask in asks}
        return tuple(task for task in TASKS if task in held)

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def count(self, tasks: Sequence[Task], limit: int | None = None) -> int:
        return len(list(self.pictures(tasks, limit)))

    def pictures(self, tasks: Sequence[Task], limit: int | None = None) -> Iterator[Picture]:
        chosen = {name: [ask for ask in asks if ask.task in tasks] for name, asks in self.asks.items()}
        for name, asks in [item for item in chosen.items() if item[1]][:limit]:
            yield Picture(name, lambda name=name: self._open(name), tuple(asks))

    def describe(self) -> Mapping[str, object]:
        return {"pictures": len(self.asks)}

    def _open(self, name: str) -> Image.Image:
        if name in self.broken:
            raise OSError(f"{name} is damaged")
        return Image.new("RGB", SIZE[::-1])
