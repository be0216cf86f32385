import argparse
import errno

import pytest

from xsam_edge.runtime.cli.common import Parser, command, count, describe_error
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
