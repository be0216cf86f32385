"""One engine, built in a process of its own.

Polygraphy is told once per process which library it drives, a compiler's memory goes back to the system when its
process ends, and a crash of native code is an exit status. A job comes as JSON on stdin, events leave as JSON lines
on stdout; what libraries print goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TextIO

from xsam_edge.export.engines.flavours import config_loader, has_timing_cache, strongly_typed

Emit = Callable[[dict[str, Any]], None]

# Said of every graph whose indices are of 64 bit, which the contract says and both libraries take; and of quantised
# convolutions in FP16, whose products have scales in FP32.
_EXPECTED = ("Int64 binding", "int64 binding", "scales to fp32")
# Said once a profile, in their order: what a run has to be given, of which an engine's runtime only tells on a GPU.
_ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")


class Messages(logging.Handler):
    """Counts warnings, keeps errors, and what the builder says of memory."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.warnings: Counter[str] = Counter()
        self.errors: list[str] = []
        self.scratch_bytes: list[int] = []  # of each profile

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        text = " ".join(record.getMessage().split())
        if record.levelno >= logging.ERROR:
            self.errors.append(text)
        elif record.levelno < logging.WARNING:
            self.scratch_bytes += [int(figure) for figure in _ACTIVATIONS.findall(text)]
        elif not any(expected in text for expected in _EXPECTED):
            self.warnings[text] += 1


def _monitor(trt: Any, emit: Emit) -> Any:
    """Reports the outermost phase, at most four times a second. None where the library has no monitors."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: list[tuple[str, int]] = []
            self.next = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.append((phase_name, num_steps))
            self.report(0)

        def phase_finish(self, phase_name: str) -> None:
            self.phases = [phase for phase in self.phases if phase[0] != phase_name]

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self.phases and phase_name == self.phases[0][0]:
                self.report(step + 1)
            return True

        def report(self, step: int) -> None:
            now = time.monotonic()
            if now >= self.next:
                self.next = now + 0.25
                name, steps = self.phases[0]
                emit({"event": "progress", "phase": name, "step": step, "steps": steps})

    return Monitor()


def build(job: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Build the engine of a job and save it; returns the last event."""
    messages = Messages()
    try:
        return {"event": "done", **_build(job, emit, messages), "warnings": dict(messages.warnings)}
    except Exception as error:  # polygraphy's and the library's share no base
        errors = messages.errors or [f"{type(error).__name__}: {error}"]
        return {"event": "failed", "errors": errors, "warnings": dict(messages.warnings)}


def _build(job: dict[str, Any], emit: Emit, messages: Messages) -> dict[str, Any]:
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1" if job["flavour"] == "tensorrt-rtx" else "0"
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    from polygraphy import util
    from polygraphy.backend.trt import Profile, engine_bytes_from_network, network_from_onnx_path
    from polygraphy.logger import G_LOGGER
    from polygraphy.mod.trt_importer import lazy_import_trt

    G_LOGGER.use_python_logging_system = True
    G_LOGGER.colors = G_LOGGER.letter = False
    G_LOGGER.module_severity = G_LOGGER.VERBOSE  # the builder's figures
    logger = logging.getLogger("Polygraphy")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(messages)
    trt = lazy_import_trt()
    profiles = []
    for inputs in job["profiles"]:
        profile = Profile()
        for name, (low, usual, high) in inputs.items():
            profile.add(name, tuple(low), tuple(usual), tuple(high))
        profiles.append(profile)
    cache = job["timing_cache"] if has_timing_cache(job["flavour"]) else None
    config = config_loader(
        job["flavour"],
        tuple(job["compute_capabilities"]),
        profiles=profiles or None,
        progress_monitor=_monitor(trt, emit),
        builder_optimization_level=job["optimization_level"],
        load_timing_cache=cache if cache and os.path.exists(cache) else None,
    )
    emit({"event": "progress", "phase": "parse", "step": 0, "steps": 0})
    # Called at once, not chained: the network outlives its parser, which keeps the weights that it mapped.
    builder, network, parser = network_from_onnx_path(job["onnx"], strongly_typed=strongly_typed(trt) or None)
    layers = network.num_layers
    engine = engine_bytes_from_network((builder, network, parser), config=config, save_timing_cache=cache)
    emit({"event": "progress", "phase": "save", "step": 0, "steps": 0})
    util.save_file(engine, job["engine"])
    return {
        "layers": layers,
        "version": trt.__version__,
        "engine_bytes": os.path.getsize(job["engine"]),
        "scratch_bytes": messages.scratch_bytes,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Entry point of the process."""
    events: TextIO = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # native code prints where it likes
    job = json.loads(sys.stdin.read())

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    emit(build(job, emit))
    events.flush()
    os._exit(0)  # destructors of native libraries at exit are no part of the work


if __name__ == "__main__":
    main()
