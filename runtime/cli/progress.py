"""Progress of the commands: a line of a terminal that overwrites itself, or plain lines now and then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TextIO

from xsam_edge.runtime.cli.heartbeat import Heartbeat
from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.units import duration, size

_REFRESH = 0.1  # seconds between two states of a terminal's line, while steps come
_WAITING = 2.0  # the same, while none comes
_PLAIN = 30.0  # seconds between two plain lines; what is done before says nothing
_SETTLED = 2.0  # seconds of work from which its speed tells what is left
_COLUMNS = 80  # of a terminal that does not say


class ProgressPrinter:
    """Prints the steps that it is called with, and their speed.

    On a terminal one line is overwritten. In a file or pipe there is a line of its own every half minute, or none at
    all unless ``plain``. Where a step takes longer, a thread prints it again, and for how long the work has been at it;
    that is so within a ``with`` block, after which nothing is printed. Any thread may call. A note has a line that
    stays, at once.

    >>> with ProgressPrinter(sys.stderr) as progress:
    ...     progress(Step("hash", 1 << 20, 1 << 30, "bytes"))
    ...     progress(Step("load"))
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        plain: bool = True,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        condition: threading.Condition | None = None,
    ) -> None:
        """Nothing is shown with ``quiet``, notes neither.

        ``clock`` and ``condition`` stand in for the time, and for what waits until it has passed.
        """
        self._stream, self._clock = stream, clock
        self._terminal = stream.isatty()
        self.quiet = quiet
        self._shown = (self._terminal or plain) and not quiet
        self._first: Step | None = None
        self._last = Step("")
        self._began = self._told = clock()  # when the work at hand did, and when the last step of it came
        self._printed = float("-inf") if self._terminal else self._began
        self._width = 0
        self._entered = False
        self._idle = True  # no step came since the line was cleared
        self._lock = condition or threading.Condition()
        self._heartbeat = Heartbeat(self._repeat, self._lock)

    def __call__(self, step: Step) -> None:
        """Show a step, unless the last one was shown just now."""
        with self._lock:
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
            self._last, self._told = step, now
            whole = step.total is not None and step.done >= step.total
            if now >= self._printed + self._interval(_REFRESH) or (self._terminal and (fresh or whole)):
                self._print(now)
            if self._idle and self._entered:
                self._heartbeat.wake()
            self._idle = False

    def _repeat(self) -> float | None:
        """Show the last step again, if it is time; returns the seconds until it will be, None without work."""
        if self._idle or not self._shown:
            return None
        now, interval = self._clock(), self._interval(_WAITING)
        if now < self._printed + interval:
            return self._printed + interval - now
        try:
            self._print(now)
        except (OSError, ValueError):  # the stream is closed, or whoever read it went away
            self._shown = False
        return interval

    def _interval(self, of_terminal: float) -> float:
        return of_terminal if self._terminal else _PLAIN

    def _print(self, now: float) -> None:
        assert self._first is not None
        self._printed = now
        self._write(line(self._last, _speed(self._first, self._last, self._told - self._began), now - self._told))

    def _write(self, text: str) -> None:
        if not self._terminal:
            self._stream.write(f"{text}\n")
        else:
            text = text[: _columns(self._stream) - 1]  # a line that wraps cannot be overwritten
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        self._stream.flush()

    def clear(self) -> None:
        """Remove the terminal's line, before anything else is printed; it comes back with the next step."""
        with self._lock:
            self._idle = True
            if self._width:
                self._stream.write("\r" + " " * self._width + "\r")
                self._stream.flush()
                self._width, self._printed = 0, float("-inf")

    def __enter__(self) -> ProgressPrinter:
        self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        self._heartbeat.stop()
        self.clear()
        self._shown = False


def line(step: Step, speed: float | None = None, waited: float = 0.0) -> str:
    """A step as text.

    Args:
        step: the last one that was told.
        speed: in its units a second, None where that is not known.
        waited: seconds since it was told.
    """
    name = f"{step.what} {step.detail}".rstrip()
    since = f", at it for {duration(waited)}" if waited >= _SETTLED else ""
    if step.total is None:
        return (f"{name}  {_amount(step)}{_pace(step, speed, waited)}" if step.done else f"{name} ...") + since
    share = step.done / step.total if step.total else 1.0
    return f"{name} {share:4.0%}  {_amount(step)}{_pace(step, speed, waited)}{since}"


def _amount(step: Step) -> str:
    if step.unit in _SHOWN:
        show = _SHOWN[step.unit]
        return show(step.done) if step.total is None else f"{show(step.done)} of {show(step.total)}"
    return f"{step.done:,} {step.unit}" if step.total is None else f"{step.done:,} of {step.total:,} {step.unit}"


def _pace(step: Step, speed: float | None, waited: float) -> str:
    if not speed:
        return ""
    rate = "" if step.unit == "seconds" else f", {_rate(step.unit, speed)}"
    if step.total is None:
        return rate
    # One unit is at work, which is not done however long it takes.
    left = max(step.total - step.done - min(waited * speed, 1.0), 0.0)
    return f"{rate}, {duration(left / speed)} left"


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
