"""What a command says on stderr beside its answers: messages of the runtime, notes and progress."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOGGER = "xsam_edge"


def add_message_options(options: argparse._ActionsContainer) -> None:
    """Add ``--verbose`` and ``--quiet``."""
    messages = options.add_mutually_exclusive_group()
    messages.add_argument("--verbose", action="store_true", help="say more on stderr: what is loaded, and from where")
    messages.add_argument("--quiet", action="store_true", help="say nothing on stderr but errors")


def is_quiet(options: argparse.Namespace) -> bool:
    """Whether nothing but errors is said."""
    return bool(getattr(options, "quiet", False))


@contextmanager
def logged(options: argparse.Namespace) -> Iterator[None]:
    """Print what the runtime logs on stderr, a line a message: warnings, with ``--verbose`` all that it tells."""
    logger, handler = logging.getLogger(LOGGER), logging.StreamHandler(sys.stderr)
    level = logger.level
    verbose = getattr(options, "verbose", False)
    if verbose:
        logger.setLevel(logging.INFO)
    # A level of its own: what a command logs into a file is no business of the terminal's.
    handler.setLevel(logging.ERROR if is_quiet(options) else logging.INFO if verbose else logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
