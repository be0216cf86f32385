"""What a tracker keeps to."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError

_LONGEST = 3600.0  # seconds
_RATES = (1e-3, 1e4)


@dataclass(frozen=True)
class TrackerOptions:
    """The thresholds of a tracker; scores and overlaps are numbers from 0 to 1, ``low`` <= ``high`` <= ``begin``.

    Raises InputError for a value of another type, out of range, or in the wrong order.
    """

    high: float = 0.5
    """Segments that score this are matched first, with all tracks."""

    low: float = 0.1
    """Those that score this are matched next, with the tracks that are left of those seen in the frame before. What
    scores less is not looked at. There is only something to match where the question's own threshold lets it pass."""

    begin: float = 0.6
    """The score of a segment that begins a track."""

    overlap: float = 0.2
    """The least IoU, of a segment's box and of where a track is expected, at which both may belong together."""

    low_overlap: float = 0.5
    """The same for segments that score less than ``high``."""

    search: float = 0.75
    """By how much of its own size, to all sides, a box is enlarged to find tracks again that were found nowhere
    else."""

    confirm: int = 2
    """Frames in a row in which a track must be found to be one; before it is tentative, and has no identity. Those of
    a tracker's first frame are taken for granted."""

    keep: float = 3.0
    """Seconds, up to an hour, for which a track that is out of sight is kept, to be found again."""

    rate: float = 10.0
    """Frames a second, of frames that have no time."""

    by_label: bool = True
    """Whether a track keeps to segments of one label, and not only to those of one question."""

    def __post_init__(self) -> None:
        checked = {
            name: arguments.share(name, getattr(self, name))
            for name in ("high", "low", "begin", "overlap", "low_overlap")
        }
        if not checked["low"] <= checked["high"] <= checked["begin"]:
            found = ", ".join(f"{name} {checked[name]:g}" for name in ("low", "high", "begin"))
            raise InputError(f"the scores of a tracker are {found}; expected low <= high <= begin")
        for name, value in {
            **checked,
            "search": arguments.number("search", self.search, 0, 10, what="a share of a box's size"),
            "confirm": arguments.count("confirm", self.confirm, 1),
            "keep": arguments.number("keep", self.keep, 0, _LONGEST, what="seconds"),
            "rate": arguments.number("rate", self.rate, *_RATES, what="frames a second"),
            "by_label": arguments.flag("by_label", self.by_label),
        }.items():
            object.__setattr__(self, name, value)
