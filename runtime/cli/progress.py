"""Progress of the commands: a line of a terminal that overwrites itself, or plain lines now and then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.units import duration, size

_REFRESH = 0.1  # seconds between two states of a terminal's line
_PLAIN = 30.0  # seconds between two plain lines; what is done before says nothing
_SETTLED = 2.0  # seconds of work from which its speed tells what is left
_COLUMNS = 80  # of a terminal that does not say


class ProgressPrinter:
    """Prints the steps that it is called with, and their speed.

    On a terminal one line is overwritten. In a file or pipe there is a line of its own every half minute, or none at
    all unless ``plain``. A note has a line that stays, at once.

    >>> with ProgressPrinter(sys.stderr) as progress:
    ...     progress(Step("hash", 1 << 20, 1 << 30, "bytes"))
    ...     progress(Step("load"))
    """

    def __init__(self, stream: TextIO, *, plain: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._terminal = stream.isatty()
        self._shown = self._terminal or plain
        self._first: Step | None = None
        self._began = clock()
        self._last = Step("")
        self._width = 0
        self._next = self._began + (0.0 if self._terminal else _PLAIN)

    def __call__(self, step: Step) -> None:
        """Show a step, unless the last one was shown just now."""
        if not self._shown:
            return
        if step.note:
            self.clear()
            self._stream.write(f"note: {step.what}\n")
            self._stream.flush()
            return
        now = self._clock()
        fresh = self._first is None or not _follows(step, self._last)
        if fresh:
            self._first, self._began = step, now
        self._last = step
        whole = step.total is not None and step.done >= step.total
        if now < self._next and not (self._terminal and (fresh or whole)):
            return
        self._next = now + (_REFRESH if self._terminal else _PLAIN)
        assert self._first is not None
        self._write(line(step, _speed(self._first, step, now - self._began)))

    def _write(self, text: str) -> None:
        if not self._terminal:
            self._stream.write(f"{text}\n")
        else:
            text = text[: _columns(self._stream) - 1]  # a line that wraps cannot be overwritten
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        self._stream.flush()

    def clear(self) -> None:
        """Remove the terminal's line, before anything else is printed."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width, self._next = 0, 0.0

    def __enter__(self) -> ProgressPrinter:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def line(step: Step, speed: float | None = None) -> str:
    """A step as text. ``speed`` is in its units a second, None where that is not known."""
    name = f"{step.what} {step.detail}".rstrip()
    if step.total is None:
        return f"{name}  {_amount(step)}{_pace(step, speed)}" if step.done else f"{name} ..."
    share = step.done / step.total if step.total else 1.0
    return f"{name} {share:4.0%}  {_amount(step)}{_pace(step, speed)}"


def _amount(step: Step) -> str:
    if step.unit in _SHOWN:
        show = _SHOWN[step.unit]
        return show(step.done) if step.total is None else f"{show(step.done)} of {show(step.total)}"
    return f"{step.done:,} {step.unit}" if step.total is None else f"{step.done:,} of {step.total:,} {step.unit}"


def _pace(step: Step, speed: float | None) -> str:
    if not speed:
        return ""
    rate = "" if step.unit == "seconds" else f", {_rate(step.unit, speed)}"
    left = "" if step.total is None else f", {duration((step.total - step.done) / speed)} left"
    return rate + left


def _rate(unit: str, speed: float) -> str:
    if unit == "bytes":
        return f"{size(speed)}/s"
    return f"{speed:.1f} a second" if speed >= 1 else f"{1 / speed:.1f} s each"


_SHOWN: dict[str, Callable[[float], str]] = {"bytes": size, "seconds": duration}


def _follows(step: Step, last: Step) -> bool:
    """Whether a step goes on with the work of the last one."""
    return (step.what, step.unit) == (last.what, last.unit) and step.done >= last.done


def _speed(first: Step, step: Step, seconds: float) -> float | None:
    return (step.done - first.done) / seconds if seconds >= _SETTLED else None


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS
