"""The process of one step: ``python -m xsam_edge.benchmarks.gpu_check.child STEP DEVICE PAYLOAD RESULTS``."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xsam_edge.benchmarks.gpu_check.records import DONE, OUTCOME, Recorder
from xsam_edge.benchmarks.gpu_check.steps import BY_NAME, Setting
from xsam_edge.runtime.cli.common import describe_error
from xsam_edge.runtime.errors import XSamError


def main(arguments: Sequence[str]) -> int:
    """Run a step and record how it ended; returns 0 where it was done."""
    name, device, payload, results = arguments
    say = Recorder(Path(results), name)
    module, function = BY_NAME[name].target.split(":")
    try:
        # By name: each step loads what it needs and no other does, and one that does not load fails alone.
        step: Any = getattr(importlib.import_module(f"{__package__}.{module}"), function)
        step(Setting("cuda" if device == "cuda" else "cpu", Path(payload)), say)
    except Exception as error:
        if not isinstance(error, XSamError):
            traceback.print_exc()
        say(OUTCOME, "failed", note=describe_error(error)[:300])
        return 1
    say(OUTCOME, DONE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
