import argparse
import logging
import warnings

import pytest

from xsam_edge.runtime.cli.common import Parser, command
from xsam_edge.runtime.cli.messages import LOGGER, add_message_options
from xsam_edge.runtime.versions import UntestedVersionWarning


def parser() -> Parser:
    options = Parser("tool")
    add_message_options(options)
    return options


def body(_: argparse.Namespace) -> int:
    log = logging.getLogger(f"{LOGGER}.part")
    log.info("a detail")
    log.warning("a warning")
    log.error("a fault")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("untested", UntestedVersionWarning, stacklevel=1)
    return 0


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ([], ["a warning", "a fault", "note: untested"]),
        (["--verbose"], ["a detail", "a warning", "a fault", "note: untested"]),
        (["--quiet"], ["a fault"]),
    ],
)
def test_what_is_said(given: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger(LOGGER)
    before = list(logger.handlers), logger.level
    assert command("tool", parser(), body, given) == 0
    assert capsys.readouterr().err.splitlines() == lines
    assert (list(logger.handlers), logger.level) == before


def test_a_command_without_these_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("tool", Parser("tool"), body, []) == 0
    assert capsys.readouterr().err.splitlines() == ["a warning", "a fault", "note: untested"]
