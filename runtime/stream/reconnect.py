"""When a live source that stopped is opened again, and how long it may be silent."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_edge.runtime import arguments

_DAY = 86_400.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class Reconnect:
    """How a live source is opened again that stopped, broke or fell silent after its first frame.

    ``attempts`` are those in a row that give no frame; 0: the stream ends. None takes 5 for cameras, URLs and
    pipelines, and 0 for FIFOs and standard input, whose writer may simply be done. Before the first attempt ``delay``
    seconds pass, before each further one ``growth`` times as many, up to ``longest``. ``timeout`` is for how many
    seconds a source may give no frame, from when it is opened and from each frame.

    Raises:
        InputError: a number out of range.
    """

    attempts: int | None = None
    delay: float = 1.0
    growth: float = 2.0
    longest: float = 30.0
    timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts is not None:
            self._set("attempts", arguments.count("attempts", self.attempts))
        self._set("delay", arguments.number("delay", self.delay, 0, _DAY, what="seconds"))
        self._set("longest", arguments.number("longest", self.longest, 0, _DAY, what="seconds"))
        self._set("growth", arguments.number("growth", self.growth, 1, 1e6, what="a factor"))
        self._set("timeout", arguments.number("timeout", self.timeout, above=0, high=_DAY, what="seconds"))

    def _set(self, name: str, value: float) -> None:
        """A scalar of NumPy as a number of Python, which waits take."""
        object.__setattr__(self, name, value)

    def attempts_of(self, written: bool) -> int:
        """``attempts``, or what None means for a source that is ``written`` by someone who may be done."""
        if self.attempts is not None:
            return self.attempts
        return 0 if written else _ATTEMPTS

    def wait(self, attempt: int) -> float:
        """Seconds before an attempt, of which 0 is the first."""
        try:
            wait = self.delay * self.growth**attempt
        except OverflowError:
            wait = self.delay and self.longest
        return min(wait, self.longest)
