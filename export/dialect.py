"""Which dialect of the graphs an export is of, where its user does not say."""

from __future__ import annotations

import argparse
from typing import get_args

from xsam_edge.export.precision.plan import Precision
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.errors import InputError

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


def dialect_of(options: argparse.Namespace, precision: Precision) -> Dialect:
    """What ``--for`` says; by default what the floating-point type is fast on.

    Raises:
        InputError: engines of another dialect than theirs.
    """
    if options.engine is not None:
        if options.dialect not in (None, "gpu"):
            raise InputError(f"--engine compiles graphs for gpu, not those of --for {options.dialect}; leave --for out")
        return "gpu"
    if options.dialect is not None:
        dialect: Dialect = options.dialect
        return dialect
    return "cpu" if "fp32" in (precision, options.float_precision) else "gpu"
