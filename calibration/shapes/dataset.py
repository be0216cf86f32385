"""Drawn scenes as a data set: ``shapes``, ``shapes:SPLIT`` or ``shapes:FIRST-LAST`` for seeds of one's own.

``shapes:hard`` and ``shapes:hard-FIRST-LAST`` are scenes of small, thin, overlapping and pale things in larger
pictures, for whoever wants to see what a precision costs: where scenes are easy, all precisions are alike.
``shapes:directions`` asks for things by where they are, the kinds of its phrases being the directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from xsam_edge.calibration.data.samples import (
    TASKS,
    Ask,
    BoolMask,
    Caption,
    Categories,
    Lazy,
    Phrase,
    Picture,
    Regions,
    Task,
    TrueSegment,
)
from xsam_edge.calibration.shapes import phrases
from xsam_edge.calibration.shapes.composition import GROUNDS, SHAPES, Composition, compose
from xsam_edge.calibration.shapes.draw import Drawing, draw
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.regions import box_mask, point_mask
from xsam_edge.runtime.results.iou import mask_box

NAMES = (*SHAPES, *GROUNDS)
"""Categories, things first."""

SIZE = 192
"""Pixels along an edge, twice the demo model's input, so that an evaluation goes through the resizing of any image."""

SPLITS: Mapping[str, range] = {
    "test": range(500),
    "val": range(10_000, 10_500),
    "hard": range(500_000, 500_500),
    "directions": range(600_000, 600_500),
    "calibration": range(20_000, 30_000),
    "train": range(1_000_000, 100_000_000),
}
"""Seeds of each split; they share none."""

_RANGE = re.compile(r"(hard-)?(\d+)-(\d+)")
_HARD_SIZES = (480, 640, 720, 1080)


class ShapesData:
    """Scenes of a split, drawn at ``size`` pixels; by default at ``SIZE``, hard ones at 480 to 1,080."""

    def __init__(self, split: str = "test", size: int | None = None) -> None:
        """Raises InputError for an unknown split or an empty range of seeds."""
        self.split, self._size, self.hard = split, size, split.startswith("hard")
        if explicit := _RANGE.fullmatch(split):
            self.seeds = range(int(explicit[2]), int(explicit[3]) + 1)
        elif split in SPLITS:
            self.seeds = SPLITS[split]
        else:
            raise InputError(
                f"shapes has no split {split!r}; choose one of {', '.join(SPLITS)}, or seeds such as shapes:1000-1299"
            )
        if not self.seeds:
            raise InputError(f"the seeds {split} are none; give the first and the last one, such as shapes:1000-1299")

    @property
    def name(self) -> str:
        """As it was called."""
        return f"shapes:{self.split}"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All of them, or that of phrases."""
        return ("refer",) if self._asks_directions else TASKS

    @property
    def _asks_directions(self) -> bool:
        return self.split == "directions"

    @property
    def notes(self) -> tuple[str, ...]:
        """None: every scene is whole."""
        return ()

    def count(self, tasks: Sequence[Task], limit: int | None = None) -> int:
        """How many scenes; each has something for every task."""
        return len(self.seeds) if limit is None else min(limit, len(self.seeds))

    def pictures(self, tasks: Sequence[Task], limit: int | None = None) -> Iterator[Picture]:
        """Scenes in the order of their seeds."""
        for index in range(self.count(tasks, limit)):
            yield self.picture(tasks, index)

    def picture(self, tasks: Sequence[Task], index: int) -> Picture:
        """One of those scenes."""
        seed = self.seeds[index]
        asks = _CompositionAsks(self.composition(seed), self.size(seed))
        return asks.directions() if self._asks_directions else asks.picture(tasks)

    def composition(self, seed: int) -> Composition:
        """The scene of a seed."""
        return compose(seed, hard=self.hard)

    def size(self, seed: int) -> int:
        """Pixels along an edge of the scene of a seed."""
        return self._size or (_HARD_SIZES[seed % len(_HARD_SIZES)] if self.hard else SIZE)

    def describe(self) -> Mapping[str, object]:
        """The seeds and the size."""
        ends = [self.seeds[0], self.seeds[-1]]
        return {"generator": "shapes", "split": self.split, "seeds": ends, "size": self.size(ends[0])}


class _CompositionAsks:
    """A composition, drawn once when it is needed, and what it is asked."""

    def __init__(self, composition: Composition, size: int) -> None:
        self.composition, self.size = composition, size
        self._things = len(composition.things)
        self.rng = np.random.default_rng([composition.seed, 0xA5C])

    @cached_property
    def drawing(self) -> Drawing:
        return draw(self.composition, self.size)

    def picture(self, tasks: Sequence[Task]) -> Picture:
        # Every ask is made, so that the choices of one task do not depend on which others are evaluated.
        makers: dict[Task, Callable[[], list[Ask]]] = {
            "refer": self._refer,
            "reason": self._reason,
            "panoptic": lambda: [Categories("panoptic", NAMES, len(SHAPES), self._segments())],
            "semantic": lambda: [Categories("semantic", NAMES, len(SHAPES), self._segments())],
            "instances": lambda: [Categories("instances", SHAPES, len(SHAPES), self._segments()[: self._things])],
            "regions": self._regions,
            "captions": self._captions,
        }
        made = {task: makers[task]() for task in TASKS}
        return self._picture(tuple(ask for task in TASKS if task in tasks for ask in made[task]))

    def directions(self) -> Picture:
        """A phrase for each direction that the composition allows, which is its kind."""
        found: dict[str, list[phrases.ReferringExpression]] = {}
        for expression in phrases.expressions(self.composition):
            if expression.kind in ("position", "relation"):
                found.setdefault(phrases.direction(expression), []).append(expression)
        asks = []
        for words, expressions in found.items():
            chosen = expressions[int(self.rng.integers(len(expressions)))]
            asks.append(Phrase("refer", chosen.text, self._mask(chosen.thing or 0), words))
        return self._picture(tuple(asks))

    def _picture(self, asks: tuple[Ask, ...]) -> Picture:
        return Picture(f"shapes-{self.composition.seed}", lambda: Image.fromarray(self.drawing.pixels), asks)

    def _mask(self, index: int) -> Lazy:
        return lambda: self._shown(index)

    def _shown(self, index: int) -> BoolMask:
        return np.asarray(self.drawing.index == index)

    def _refer(self) -> list[Ask]:
        """A phrase of each kind that the composition allows, and one for something absent."""
        expressions = [*phrases.expressions(self.composition), *phrases.absent(self.composition)]
        return [
            self._phrase("refer", self._one(expressions, kind))
            for kind in dict.fromkeys(item.kind for item in expressions)
        ]

    def _reason(self) -> list[Ask]:
        """A sentence about something, where the composition allows one, and one about something absent."""
        asks: list[Ask] = []
        if expressions := phrases.sentences(self.composition):
            asks.append(self._phrase("reason", expressions[int(self.rng.integers(len(expressions)))]))
        if missing := phrases.absent_sentences(self.composition):
            # Drawn by itself, so that every other ask is what it is without.
            rng = np.random.default_rng([self.composition.seed, 0xAB5])
            asks.append(self._phrase("reason", missing[int(rng.integers(len(missing)))]))
        return asks

    def _one(self, expressions: Sequence[phrases.ReferringExpression], kind: str) -> phrases.ReferringExpression:
        of_kind = [item for item in expressions if item.kind == kind]
        return of_kind[int(self.rng.integers(len(of_kind)))]

    def _phrase(self, task: Task, expression: phrases.ReferringExpression) -> Phrase:
        mask = None if expression.thing is None else self._mask(expression.thing)
        return Phrase("reason" if task == "reason" else "refer", expression.text, mask, expression.kind)

    def _segments(self) -> tuple[TrueSegment, ...]:
        """Things, then grounds."""
        labels = [NAMES.index(thing.shape) for thing in self.composition.things]
        labels += [NAMES.index(ground) for ground in self.composition.grounds]
        return tuple(TrueSegment(self._mask(index), label) for index, label in enumerate(labels))

    def _regions(self) -> list[Ask]:
        """One thing by a mask, by a box and by a point, and all things of the shapes of one thing each."""
        things = self.composition.things
        asks: list[Ask] = []
        for kind in ("mask", "box", "point"):
            index, pick = int(self.rng.integers(len(things))), float(self.rng.random())
            truth = TrueSegment(self._mask(index), 0)
            asks.append(Regions((self._region(index, kind, pick),), (truth,), False, kind))
        shapes = sorted({thing.shape for thing in things})
        members = [[i for i, thing in enumerate(things) if thing.shape == shape] for shape in shapes]
        prompts = tuple(self._mask(int(self.rng.choice(group))) for group in members)
        segments = [TrueSegment(self._mask(i), label) for label, group in enumerate(members) for i in group]
        asks.append(Regions(prompts, tuple(segments), True))
        return asks

    def _region(self, index: int, kind: str, pick: float) -> Lazy:
        def make() -> BoolMask:
            inside = self._shown(index)
            rows, columns = np.nonzero(inside)
            if kind == "mask":
                return inside
            if kind == "box":
                return box_mask(mask_box(inside), inside.shape)
            at = int(pick * len(rows))
            return point_mask((float(columns[at]), float(rows[at])), inside.shape)

        return make

    def _captions(self) -> list[Ask]:
        tagged, named = phrases.caption(self.composition)
        ground = len(self.composition.things) + len(self.composition.grounds) - 1
        masks = tuple(self._mask(ground if index is None else index) for _, index in named)
        text = tagged.replace("<p>", "").replace("</p>", "")
        return [Caption(text, tuple(phrase for phrase, _ in named), masks)]
