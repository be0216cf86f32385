"""The options of engines; what they do is :mod:`command`."""

from __future__ import annotations

import argparse

from xsam_edge.export.engines.flavours import FLAVOURS
from xsam_edge.export.engines.targets import AUTO, TARGETS
from xsam_edge.runtime.cli.common import count, positive
from xsam_edge.runtime.device.memory_plan import GIB

#: What is of engines and of their plans alone.
OF_ENGINES = ("target", "context", "memory", "optimization_level", "no_parity")
#: Of these, what says where engines are to run, by which --precision auto chooses.
OF_TARGETS = ("target", "context", "memory")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add what engines are built for and with, and ``--plan``."""
    engine = parser.add_argument_group("engines", "compile the graphs for a GPU, or tell what they will need")
    engine.add_argument("--engine", choices=FLAVOURS, help="tensorrt-rtx builds for desktop GPUs, on any machine")
    engine.add_argument(
        "--target", default=AUTO, metavar="NAME", help=f"{', '.join(TARGETS)} (default: the GPU of this machine)"
    )
    engine.add_argument("--context", type=positive, metavar="N", help="tokens of prompt and answer together")
    engine.add_argument("--memory", type=_gib, metavar="GIB", help="of the target, where it is not the preset's")
    engine.add_argument(
        "--optimization-level", type=_level, metavar="0-5", help="how long the compiler searches (default: its own)"
    )
    engine.add_argument(
        "--no-parity", action="store_true", help="do not compare new engines with their graphs, where there is a GPU"
    )
    engine.add_argument("--plan", action="store_true", help="print the memory plan and do nothing else")


def _gib(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in GiB")
    return int(value * GIB)


def _level(text: str) -> int:
    value = count(text)
    if value > 5:
        raise argparse.ArgumentTypeError(f"{text!r} is not a level from 0 to 5")
    return value
