"""Pictures of a folder and what is asked of them, gathered from one or several annotation files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.files import Size, open_picture
from xsam_edge.calibration.data.samples import TASKS, Ask, Picture, Task
from xsam_edge.runtime.errors import InputError

MakeAsks = Callable[[], Sequence[Ask]]


@dataclass(frozen=True, eq=False)
class Entry:
    """One image file; ``asks`` makes those of a task. ``size`` is the one that its masks have, None if any.

    ``annotated_upright``: see ``open_picture``.
    """

    path: Path
    size: Size | None
    asks: Mapping[Task, MakeAsks]
    annotated_upright: bool = False


@dataclass(frozen=True, eq=False)
class AnnotationFile:
    """What one annotation file gives. ``facts`` say what it is, for reports.

    ``without_outline`` counts annotations that say nothing of where their object is: no answer could match them, and
    they are left out. ``notes`` say what else a user should know.
    """

    format: str
    entries: tuple[Entry, ...]
    facts: Mapping[str, Any]
    without_outline: int = 0
    notes: tuple[str, ...] = ()


class FolderData:
    """A data set of image files, each once, in the order of their paths."""

    def __init__(self, name: str, root: Path, files: Sequence[AnnotationFile]) -> None:
        self.name = name
        self._root = root
        self._files = tuple(files)
        self._entries = _merged(entry for file in files for entry in file.entries)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that any picture has asks for."""
        held = {task for entry in self._entries for task in entry.asks}
        return tuple(task for task in TASKS if task in held)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of each file, and why."""
        return tuple(note for file in self._files for note in (*_left_out(file), *file.notes))

    def count(self, tasks: Sequence[Task], limit: int | None = None) -> int:
        """How many pictures ``pictures`` yields."""
        return len(self._chosen(tasks, limit))

    def pictures(self, tasks: Sequence[Task], limit: int | None = None) -> Iterator[Picture]:
        """Pictures in order."""
        for entry in self._chosen(tasks, limit):
            yield self._picture(entry, tasks)

    def picture(self, tasks: Sequence[Task], index: int) -> Picture:
        """One of those pictures."""
        return self._picture(self._chosen(tasks, None)[index], tasks)

    def describe(self) -> Mapping[str, object]:
        """The folder and its annotation files."""
        sources = [
            {"format": file.format, **file.facts, "without_outline": file.without_outline} for file in self._files
        ]
        return {"folder": str(self._root), "pictures": len(self._entries), "sources": sources}

    def _chosen(self, tasks: Sequence[Task], limit: int | None) -> list[Entry]:
        chosen = [entry for entry in self._entries if not entry.asks.keys().isdisjoint(tasks)]
        return chosen[:limit]

    def _picture(self, entry: Entry, tasks: Sequence[Task]) -> Picture:
        asks = [ask for task in TASKS if task in tasks and task in entry.asks for ask in entry.asks[task]()]
        image = partial(open_picture, entry.path, entry.size, annotated_upright=entry.annotated_upright)
        return Picture(self._relative(entry.path), image, tuple(asks))

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._root)).as_posix()


def _left_out(file: AnnotationFile) -> Iterator[str]:
    count = file.without_outline
    if not count:
        return
    where = file.facts.get("file", file.facts.get("images"))
    have, were = ("annotation has", "was") if count == 1 else ("annotations have", "were")
    yield (
        f"{where}: {count} {have} no outline (missing, empty, of no pixel, of fewer than three points or outside of "
        f"the image) and {were} left out"
    )


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each path, with the asks of all."""
    merged: dict[Path, Entry] = {}
    for entry in entries:
        known = merged.get(entry.path)
        if known is None:
            merged[entry.path] = entry
            continue
        if None not in (known.size, entry.size) and known.size != entry.size:
            raise InputError(f"{entry.path} is {known.size} in one annotation file and {entry.size} in another")
        merged[entry.path] = replace(known, size=known.size or entry.size, asks=_joined(known.asks, entry.asks))
    return [merged[path] for path in sorted(merged)]


def _joined(first: Mapping[Task, MakeAsks], second: Mapping[Task, MakeAsks]) -> Mapping[Task, MakeAsks]:
    both: dict[Task, MakeAsks] = {**first, **second}
    for task in first.keys() & second.keys():
        both[task] = partial(_chained, first[task], second[task])
    return both


def _chained(first: MakeAsks, second: MakeAsks) -> Sequence[Ask]:
    return [*first(), *second()]
