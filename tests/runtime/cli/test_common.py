import argparse
import errno
import io
import shutil
import sys
import warnings
from pathlib import Path

import PIL
import pytest

from xsam_edge.runtime import versions
from xsam_edge.runtime.cli.common import Parser, command, count, describe_error, load_bundle
from xsam_edge.runtime.cli.progress import ProgressPrinter
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_untested_version_is_a_note(
    phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for the whole process, behind the progress of loading; other warnings are as they were."""
    monkeypatch.setattr(versions, "_told", set())
    monkeypatch.setattr(PIL, "__version__", "13.1.0")
    monkeypatch.setattr(sys, "stderr", Terminal())
    before = warnings.showwarning

    def body(options: argparse.Namespace) -> int:
        with ProgressPrinter(sys.stderr) as progress:
            for _ in range(2):
                load_bundle(phi3_bundle, progress, threads=1)
        warnings.warn("something else", FutureWarning, stacklevel=1)
        return 0

    with pytest.warns(FutureWarning, match="something else") as caught:
        assert command("tool", parser(), body, ["x"]) == 0
    assert len(caught) == 1
    assert warnings.showwarning is before
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    (note,) = [line for line in shown.split("\n") if "note:" in line]
    assert note.rpartition("\r")[2] == (
        "note: Pillow 13.1.0 is newer than 13.0.0, the newest that was tested; should anything fail, install one from "
        "10.3.0 to there"
    )
    assert shown.count("note:") == 1


def test_an_untested_version_is_told_where_loading_fails(
    phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be why."""
    bundle = Path(shutil.copytree(phi3_bundle, tmp_path / "bundle"))
    (bundle / "llm.onnx").write_bytes(b"\0" * (bundle / "llm.onnx").stat().st_size)
    monkeypatch.setattr(versions, "_told", set())
    monkeypatch.setattr(PIL, "__version__", "13.1.0")

    def body(options: argparse.Namespace) -> int:
        load_bundle(bundle, ProgressPrinter(sys.stderr), verify="none")
        return 0

    assert command("tool", parser(), body, ["x"]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: Pillow 13.1.0 is newer") and error.startswith("tool: error: ")


def test_warnings_of_loading_reach_a_program(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_told", set())
    monkeypatch.setattr(PIL, "__version__", "13.1.0")
    with pytest.warns(versions.UntestedVersionWarning):
        load_bundle(phi3_bundle, ProgressPrinter(io.StringIO(), plain=False), threads=1)
    with pytest.warns(FutureWarning, match="drafts is now speculative"):
        load_bundle(phi3_bundle, ProgressPrinter(io.StringIO(), plain=False), threads=1, drafts=True)


def test_a_name_that_is_no_text() -> None:
    assert describe_error(FileNotFoundError(2, "No such file", b"a\xff")) == "a\udcff: No such file"
