"""What a stream gives of a frame: what was found in it, or that it came too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xsam_edge.runtime import arguments
from xsam_edge.runtime.results.result import Result


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found in one frame.

    ``index`` counts the frames of the source, ``dropped`` those that were skipped since the one before.
    ``age_ms`` is the frame's age at delivery; ``timings`` are milliseconds by stage, "waiting" what no stage took.
    ``stamp_ns`` and ``origin`` are those of the source's frame.
    Raises InputError for a value of another type or out of range.
    """

    index: int
    timestamp: float | None  # as the source gave it
    name: str | None
    age_ms: float
    dropped: int
    timings: Mapping[str, float]
    results: tuple[Result, ...]  # one per prompt
    stamp_ns: int | None = None
    origin: object = field(default=None, repr=False)
    late: Literal[False] = field(default=False, init=False)

    def __post_init__(self) -> None:
        _set_facts(self)
        if not isinstance(self.timings, Mapping):
            raise arguments.wrong("timings", self.timings, "milliseconds by stage, as a dict")
        results = tuple(arguments.items("results", self.results, "a list of one Result or several"))
        if not results:
            raise arguments.wrong("results", results, "a list of one Result or several")
        object.__setattr__(self, "results", results)

    @property
    def result(self) -> Result:
        """The answer to the first prompt."""
        return self.results[0]


@dataclass(frozen=True, eq=False)
class Late:
    """A frame whose deadline passed; what its stages may still give is thrown away.

    ``stage`` is where the frame was: "waiting", "image_encoder" or "answer". The rest is as in ``FrameResult``.
    Raises InputError for a value of another type or out of range.
    """

    index: int
    timestamp: float | None
    name: str | None
    age_ms: float
    dropped: int
    deadline_ms: float
    stage: str
    stamp_ns: int | None = None
    origin: object = field(default=None, repr=False)
    late: Literal[True] = field(default=True, init=False)

    def __post_init__(self) -> None:
        _set_facts(self)
        deadline = arguments.number("deadline_ms", self.deadline_ms, 0, what="milliseconds")
        object.__setattr__(self, "deadline_ms", deadline)
        arguments.choice("stage", self.stage, "waiting", "image_encoder", "answer")


def _set_facts(frame: FrameResult | Late) -> None:
    """Check what all frames have, and set it as Python has it: a scalar of NumPy is none of JSON's."""
    for name, value in {
        "index": arguments.count("index", frame.index),
        "timestamp": None
        if frame.timestamp is None
        else arguments.number("timestamp", frame.timestamp, what="seconds"),
        "stamp_ns": None if frame.stamp_ns is None else arguments.count("stamp_ns", frame.stamp_ns),
        "name": None if frame.name is None else arguments.text("name", frame.name),
        "age_ms": arguments.number("age_ms", frame.age_ms, what="milliseconds"),
        "dropped": arguments.count("dropped", frame.dropped),
    }.items():
        object.__setattr__(frame, name, value)
