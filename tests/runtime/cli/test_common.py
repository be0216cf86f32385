import argparse
import errno
import io

import pytest

from xsam_edge.runtime.cli.common import Parser, Progress, command, count, describe_error
from xsam_edge.runtime.errors import InputError


def parser() -> Parser:
    options = Parser("tool", usage="tool FILE [options]")
    options.add_argument("file")
    return options


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("the box is\nempty"), 2, "tool: error: the box is empty\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a.png"), 2, "tool: error: out/a.png: No space left on"),
        (OSError("broken"), 2, "tool: error: broken\n"),
        (MemoryError(), 2, "tool: error: not enough memory"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_end_in_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def body(options: argparse.Namespace) -> int:
        raise error

    assert command("tool", parser(), body, ["x"]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(line)
    assert output.err.count("\n") == bool(line)


def test_a_bug_is_not_hidden() -> None:
    def body(options: argparse.Namespace) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command("tool", parser(), body, ["x"])


def test_the_code_of_the_body() -> None:
    assert command("tool", parser(), lambda options: 1, ["x"]) == 1


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("tool", parser(), lambda options: 0, ["x", "--bogus"]) == 2
    assert capsys.readouterr().err == (
        "usage: tool FILE [options]\ntool: error: unrecognized arguments: --bogus; see tool --help\n"
    )


def test_help_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("tool", parser(), lambda options: 1, ["--help"]) == 0


@pytest.mark.parametrize("text", ["-1", "x", "1.5", ""])
def test_count_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
        count(text)


def test_a_name_that_is_no_text() -> None:
    assert describe_error(FileNotFoundError(2, "No such file", b"a\xff")) == "a\udcff: No such file"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_the_share_and_clears_itself() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        progress("hash", 0, 4_000_000)
        progress("hash", 4_000_000, 4_000_000)
        progress("load")
    assert "hash   0%  0.0 MB of 4.0 MB" in stream.getvalue()
    assert "hash 100%  4.0 MB of 4.0 MB" in stream.getvalue()
    shown = stream.getvalue().split("\r")
    assert shown[-3].startswith("load ...")
    assert not shown[-2].strip()
    assert not shown[-1]


def test_progress_is_not_drawn_for_every_block() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        for done in range(10_000):
            progress("hash", done, 10_000)
    assert stream.getvalue().count("hash") < 100


def test_progress_is_silent_in_a_file() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress("load")
    assert stream.getvalue() == ""
