"""Options that would do nothing: who gives one expects something of it, and is told."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from xsam_edge.runtime.errors import InputError

_FLAGS = {"bundle": "--from", "dialect": "--for"}  # whose name among the options is another


def refuse_idle(options: argparse.Namespace, parser: argparse.ArgumentParser, names: Iterable[str], why: str) -> None:
    """Refuse those of ``names`` that were given another value than the parser's own; ``why`` ends the message.

    Raises:
        InputError: the first of them.
    """
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            raise InputError(f"{_FLAGS.get(name, '--' + name.replace('_', '-'))} {why}")
