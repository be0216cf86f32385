"""``--print-completion``: a shell's completion of a command, which shtab writes from the command's own options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from xsam_edge.runtime.cli.extras import remedy

SHELLS = ("bash", "zsh", "tcsh")

PathTypes = Sequence[Callable[[str], object]]
"""The types of options that take paths, which a shell completes by files."""


def add_completion_option(parser: argparse.ArgumentParser, paths: PathTypes) -> None:
    """Add ``--print-completion``, which prints and exits, whatever else a command line lacks."""
    parser.add_argument(
        "--print-completion",
        action=_Print,
        choices=SHELLS,
        paths=paths,
        help="print the completion of this command for a shell, and exit",
    )


class _Print(argparse.Action):
    def __init__(self, paths: PathTypes, **options: Any) -> None:
        super().__init__(default=argparse.SUPPRESS, **options)
        self._paths = paths

    def __call__(self, parser: argparse.ArgumentParser, _options: object, values: Any, _name: object = None) -> None:
        try:
            import shtab
        except ModuleNotFoundError:
            parser.exit(2, f"{parser.prog}: error: {remedy('shtab')}\n")
        for action in parser._actions:  # what has no public list
            if action.type in self._paths:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=values))
        parser.exit(0)
