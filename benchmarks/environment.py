"""What a number was measured on: the machine as the doctor sees it, and what else was going on."""

from __future__ import annotations

import os
from typing import Any

from xsam_edge.runtime.doctor import machine, software
from xsam_edge.runtime.doctor.host import Host

_VARIABLES = ("OMP_NUM_THREADS",)


def describe(threads: int, host: Host | None = None) -> dict[str, Any]:
    """Section -> fact -> value, as ``xsam-doctor --json`` has them, and the conditions of this run; all is JSON.

    ``host`` stands in for this machine.
    """
    host = host or Host()
    gpu, _ = software.gpu(host)
    sections = (
        machine.board(host),
        machine.power(host),
        machine.processor(host),
        machine.memory(host),
        gpu,
        software.python(host),
    )
    return {**{section.title: section.values() for section in sections}, "conditions": _conditions(threads)}


def _conditions(threads: int) -> dict[str, Any]:
    """What may slow a measurement down; None where the system does not tell."""
    return {
        "threads": threads,
        "load average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "niceness": os.nice(0) if hasattr(os, "nice") else None,
        "thread variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
