"""What a sink is: anything that takes the frames of a stream one by one, and can be closed; and what sinks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.stream.answers import FrameResult, Late

_CHAT = "chat"
_WORDS = ("gcgseg", _CHAT)  # tasks whose answers are read; those of others say that here it is


class FrameSink(Protocol):
    """Takes the items of a stream in their order, from one thread.

    What was written before an error, or before ``close``, is readable; ``close`` may be called more than once.
    """

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Take one item; returns the files that belong to this frame alone, one per result, or none.

        Raises:
            XSamError: it cannot be written as it is, such as a frame of another size.
            OSError: no room or no permission.
        """

    def close(self) -> None:
        """Finish what was written."""


def check_file(path: Path, overwrite: bool, another: str) -> None:
    """Raise InputError for a file that cannot be written; ``another`` says what to choose in its place."""
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder, and one file is written; choose {another}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; choose {another}, or pass --overwrite")


def words(results: Iterable[Result]) -> list[str]:
    """What answers say: captions, and what a chat answered."""
    return [result.caption for result in results if result.task in _WORDS and result.caption]


def segments(results: Iterable[Result]) -> bool:
    """Whether segments were asked for, not words alone."""
    return any(result.task != _CHAT for result in results)
