"""What a data set is made of: pictures, and what is asked of each of them with the truth beside it.

A picture is looked at once and asked many things, as a runtime is used. Pixels and masks are made when they are asked
for, so that a data set of any size costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

Task = Literal["refer", "reason", "panoptic", "semantic", "instances", "regions", "captions"]
TASKS: tuple[Task, ...] = ("refer", "reason", "panoptic", "semantic", "instances", "regions", "captions")

BoolMask = npt.NDArray[np.bool_]
Lazy = Callable[[], BoolMask]
"""A mask [H, W] at the picture's own size, made when called."""


@dataclass(frozen=True, eq=False)
class Phrase:
    """Asked for in ``refer`` (a short phrase) and ``reason`` (a sentence).

    ``mask`` is None for what is not in the picture. ``kind`` groups phrases in reports ("colour", "position", ...).
    Pixels of ``ignore`` are not judged. ``several`` says that the text may name several objects, all of which ``mask``
    covers. ``short`` marks the few of ``reason`` that are a phrase and asked as one.
    """

    task: Literal["refer", "reason"]
    text: str
    mask: Lazy | None
    kind: str = ""
    ignore: Lazy | None = None
    several: bool = False
    short: bool = False


@dataclass(frozen=True, eq=False)
class TrueSegment:
    """One annotated segment; ``label`` indexes the names of its ask. Crowds are ignored where they are not matched.

    ``area`` is the annotation's own, in pixels, where it has one: by it COCO tells small objects from large ones.
    """

    mask: Lazy
    label: int
    is_crowd: bool = False
    area: float | None = None


@dataclass(frozen=True, eq=False)
class Categories:
    """Asked for in ``panoptic``, ``semantic`` and ``instances``.

    ``names`` are all categories of the data set, things first; ``things`` says how many are things. In a panoptic
    truth segments do not overlap. Pixels of no segment are not judged by ``semantic`` and ``panoptic`` (void).
    """

    task: Literal["panoptic", "semantic", "instances"]
    names: tuple[str, ...]
    things: int
    segments: tuple[TrueSegment, ...]


@dataclass(frozen=True, eq=False)
class Regions:
    """Asked for in ``regions``: what a region points at, or everything that resembles one of several regions.

    ``prompts`` are masks to point with. With ``similar`` false there is one prompt and one segment, the object under
    it; with ``similar`` true the label of a segment is the index of the prompt that it resembles.
    """

    prompts: tuple[Lazy, ...]
    segments: tuple[TrueSegment, ...]
    similar: bool
    kind: str = ""
    task: Literal["regions"] = "regions"


@dataclass(frozen=True, eq=False)
class Caption:
    """Asked for in ``captions``: a caption's phrases, each with the mask of what it names."""

    text: str
    phrases: tuple[str, ...]
    masks: tuple[Lazy, ...]
    task: Literal["captions"] = "captions"


Ask = Phrase | Categories | Regions | Caption


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with its asks. ``image`` opens it: RGB, upright; raises OSError where a file cannot be read."""

    name: str  # unique in its data set
    image: Callable[[], Image.Image]
    asks: tuple[Ask, ...]

    def is_readable(self) -> bool:
        """Whether its image can be opened."""
        try:
            self.image()
        except OSError:
            return False
        return True


class DataSet(Protocol):
    """A data set that was opened.

    ``pictures`` yields the first ``limit`` pictures that have an ask of ``tasks``, with those asks only, always in
    the same order.
    """

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that it has asks for, in the order of ``TASKS``."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it, a line each: what was left out and why."""

    def count(self, tasks: Sequence[Task], limit: int | None = None) -> int:
        """How many pictures ``pictures`` yields."""

    def pictures(self, tasks: Sequence[Task], limit: int | None = None) -> Iterator[Picture]:
        """Pictures in order."""

    def picture(self, tasks: Sequence[Task], index: int) -> Picture:
        """One of those that ``pictures`` yields, without the ones before it."""

    def describe(self) -> Mapping[str, object]:
        """JSON values that say what the data are (paths, seeds, split), for reports."""
