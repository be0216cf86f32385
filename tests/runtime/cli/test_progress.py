"""The printer of progress, on a terminal and in a file."""

from __future__ import annotations

import io
import threading

import pytest

from tests.runtime.cli.timeless import Clock, Timeless
from xsam_edge.runtime.cli.progress import ProgressPrinter, line
from xsam_edge.runtime.progress import Step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_shows_the_share_and_clears_itself() -> None:
    stream = Terminal()
    with ProgressPrinter(stream) as progress:
        progress(Step("hash", 0, 4_000_000, "bytes"))
        progress(Step("hash", 4_000_000, 4_000_000, "bytes"))
        progress(Step("load"))
    assert "hash   0%  0 B of 4.0 MB" in stream.getvalue()
    assert "hash 100%  4.0 MB of 4.0 MB" in stream.getvalue()
    shown = stream.getvalue().split("\r")
    assert shown[-3].startswith("load ...")
    assert not shown[-2].strip()
    assert not shown[-1]


def test_it_is_not_drawn_for_every_block() -> None:
    stream = Terminal()
    with ProgressPrinter(stream) as progress:
        for done in range(10_000):
            progress(Step("hash", done, 10_000, "bytes"))
    assert stream.getvalue().count("hash") < 100


def test_short_work_is_silent_in_a_file() -> None:
    stream = io.StringIO()
    with ProgressPrinter(stream) as progress:
        progress(Step("load"))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("plain", [True, False])
def test_long_work_writes_plain_lines_into_a_file(plain: bool) -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressPrinter(stream, plain=plain, clock=clock) as progress:
        for done in range(100):
            progress(Step("gate", done, 100, "pictures"))
            clock.now += 1
        progress(Step("write"))
    expected = [
        "gate  30%  30 of 100 pictures, 1.0 a second, 70 s left",
        "gate  60%  60 of 100 pictures, 1.0 a second, 40 s left",
        "gate  90%  90 of 100 pictures, 1.0 a second, 10 s left",
    ]
    assert stream.getvalue().splitlines() == (expected if plain else [])


def test_speed_is_that_of_the_work_at_hand() -> None:
    """Work that goes on where it was counts from there, and other work anew."""
    stream, clock = Terminal(), Clock()
    progress = ProgressPrinter(stream, clock=clock)
    progress(Step("calibration", 50, 100, "pictures"))
    clock.now += 10
    progress(Step("calibration", 55, 100, "pictures"))
    assert "55 of 100 pictures, 2.0 s each, 90 s left" in stream.getvalue()
    progress(Step("gate: FP32 answers", 0, 10, "pictures"))
    assert stream.getvalue().rpartition("\r")[2].rstrip() == "gate: FP32 answers   0%  0 of 10 pictures"


@pytest.mark.parametrize("plain", [True, False])
def test_a_note_stays(plain: bool) -> None:
    """At once, whatever the time between two lines; of plain output that was not asked for there is none."""
    stream, terminal = io.StringIO(), Terminal()
    ProgressPrinter(stream, plain=plain)(Step("removed what was left", note=True))
    assert stream.getvalue() == ("note: removed what was left\n" if plain else "")
    with ProgressPrinter(terminal, plain=plain) as progress:
        progress(Step("hash", 1, 2, "files"))
        progress(Step("removed " + "x" * 200, note=True))
        progress(Step("hash", 2, 2, "files"))
    lines = terminal.getvalue().split("\n")
    assert lines[0].endswith("\rnote: removed " + "x" * 200)
    assert "note" not in lines[1]


def test_a_line_fits_its_terminal() -> None:
    stream = Terminal()
    ProgressPrinter(stream)(Step("download " + "x" * 200, 1, 2, "bytes"))
    assert len(stream.getvalue().removeprefix("\r")) == 79


PICTURES = [Step("calibration", done, 16, "pictures") for done in (1, 2)]


def waiting(stream: io.StringIO, count: int) -> str:
    """What is printed where one picture takes 60 seconds and the next one ``count`` beats."""
    clock = Clock()
    condition = Timeless(clock, 0)
    with ProgressPrinter(stream, clock=clock, condition=condition) as progress:
        progress(PICTURES[0])
        assert condition.done.wait(60)
        clock.now += 60
        condition.done.clear()
        condition.count = count
        progress(PICTURES[1])
        with condition:
            condition.notify()
        assert condition.done.wait(60)
    return stream.getvalue()


def test_a_step_that_takes_long_is_told_every_half_minute_in_a_file() -> None:
    done = "calibration  12%  2 of 16 pictures, 60.0 s each"
    assert waiting(io.StringIO(), 4).splitlines() == [
        f"{done}, 14 min left",
        f"{done}, 14 min left, at it for 30 s",
        f"{done}, 13 min left, at it for 60 s",
        f"{done}, 13 min left, at it for 90 s",
        f"{done}, 13 min left, at it for 2 min",
    ]


def test_a_terminal_counts_on() -> None:
    shown = waiting(Terminal(), 2).split("\r")
    assert [text.rstrip().rpartition(", ")[2] for text in shown[-4:-2]] == ["at it for 2 s", "at it for 4 s"]
    assert not shown[-2].strip() and not shown[-1]


def test_nothing_is_repeated_once_the_line_is_cleared() -> None:
    """What is printed then would stand in its line; the next step brings it back."""
    stream, clock = Terminal(), Clock()
    condition = Timeless(clock, 0)
    with ProgressPrinter(stream, clock=clock, condition=condition) as progress:
        progress(Step("load"))
        assert condition.done.wait(60)
        progress.clear()
        cleared = stream.getvalue()
        condition.done.clear()
        clock.now += 100
        with condition:
            condition.notify()
        assert condition.done.wait(60)
        assert condition.waits[-1] is None and stream.getvalue() == cleared
        progress(Step("segment"))
        assert stream.getvalue().removeprefix(cleared).startswith("\rsegment ...")


def test_nothing_is_printed_after_the_block() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressPrinter(stream, clock=clock) as progress:
        progress(Step("load"))
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
    assert not thread.is_alive()
    clock.now += 100
    progress(Step("load"))
    assert stream.getvalue() == ""


def test_what_nobody_stops_or_reads_starts_no_thread() -> None:
    ProgressPrinter(io.StringIO())(Step("load"))
    with ProgressPrinter(io.StringIO(), plain=False) as progress:
        progress(Step("load"))
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_a_reader_that_went_away_ends_the_lines_not_the_work() -> None:
    clock = Clock()
    condition = Timeless(clock, 2)
    stream = io.StringIO()
    with ProgressPrinter(stream, clock=clock, condition=condition) as progress:
        stream.close()
        progress(Step("load"))
        assert condition.done.wait(60)
        assert condition.waits == [30.0, 30.0, None]
        progress(Step("write"))


@pytest.mark.parametrize(
    ("step", "speed", "text"),
    [
        (Step("load"), None, "load ..."),
        (Step("segment", 0, None, "images", "street.jpg"), None, "segment street.jpg ..."),
        (Step("segment", 1, 3, "images", "b.jpg"), 0.5, "segment b.jpg  33%  1 of 3 images, 2.0 s each, 4 s left"),
        (Step("download", 3_000_000, None, "bytes"), 1e6, "download  3.0 MB, 1.0 MB/s"),
        (Step("hash", 10**9, 4 * 10**9, "bytes"), 5e8, "hash  25%  1.00 GB of 4.00 GB, 500.0 MB/s, 6 s left"),
        (Step("train", 60, 600, "seconds", "step 7"), 1.0, "train step 7  10%  60 s of 10 min, 9 min left"),
        (Step("hash", 0, 0, "bytes"), None, "hash 100%  0 B of 0 B"),
    ],
)
def test_lines(step: Step, speed: float | None, text: str) -> None:
    assert line(step, speed) == text


@pytest.mark.parametrize(
    ("step", "speed", "waited", "text"),
    [
        (Step("load"), None, 1.0, "load ..."),
        (Step("load"), None, 31.0, "load ..., at it for 31 s"),
        (Step("download", 3_000_000, None, "bytes"), 1e6, 5.0, "download  3.0 MB, 1.0 MB/s, at it for 5 s"),
        (Step("gate", 1, 3, "pictures"), 0.1, 8.0, "gate  33%  1 of 3 pictures, 10.0 s each, 12 s left, at it for 8 s"),
        (
            Step("gate", 2, 3, "pictures"),
            0.1,
            90.0,
            "gate  67%  2 of 3 pictures, 10.0 s each, 0 s left, at it for 90 s",
        ),
        (Step("gate", 3, 3, "pictures"), 0.1, 9.0, "gate 100%  3 of 3 pictures, 10.0 s each, 0 s left, at it for 9 s"),
    ],
)
def test_lines_of_a_step_that_takes_long(step: Step, speed: float | None, waited: float, text: str) -> None:
    assert line(step, speed, waited) == text
