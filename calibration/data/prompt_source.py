"""What calibration data are made from: numbered pictures, and the few asks of each that are put to the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.samples import TASKS, Ask, Picture
from xsam_edge.runtime.bundle.manifest import hash_file

ASKS = 4
"""Asks of a picture: an image is encoded once for several forwards of the language model, as a runtime is used."""


@dataclass(frozen=True, eq=False)
class PromptSource:
    """Pictures by number.

    Pictures of one ``group`` show the same image and follow each other. ``facts`` are JSON values that tell some of
    the pictures, and all that is asked of them, from any others. ``notes`` say what a user should know.
    """

    count: int
    picture: Callable[[int], Picture]
    group: Callable[[int], object]
    facts: Callable[[range], Mapping[str, Any]]
    notes: tuple[str, ...] = ()


def pick_asks(asks: Sequence[Ask], number: int) -> tuple[Ask, ...]:
    """At most ``ASKS`` of the asks of picture ``number``.

    Tasks take turns from picture to picture, and so do the asks of a task: kinds of phrases, of regions.
    """
    by_task = [of_task for task in TASKS if (of_task := [ask for ask in asks if ask.task == task])]
    picked: list[Ask] = []
    for turn in range(ASKS * number, ASKS * (number + 1)):
        if not by_task:
            break
        of_task = by_task[turn % len(by_task)]
        ask = of_task[turn // len(by_task) % len(of_task)]
        if ask not in picked:
            picked.append(ask)
    return tuple(picked)


def content_hash(paths: Iterable[Path]) -> str:
    """SHA-256 of the content of files in order; one that cannot be read counts as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(f"{hash_file(path)}\n".encode())
        except OSError:
            digest.update(b"unreadable\n")
    return digest.hexdigest()
