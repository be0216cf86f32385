"""The printer of progress, on a terminal and in a file."""

from __future__ import annotations

import io

import pytest

from xsam_edge.runtime.cli.progress import ProgressPrinter, line
from xsam_edge.runtime.progress import Step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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
