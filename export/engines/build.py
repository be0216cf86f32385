"""Engines from ONNX files, each in a process of its own (:mod:`worker`)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xsam_edge.export.engines.advice import explain
from xsam_edge.runtime.bundle.engine_info import Flavour
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import EngineBuildError
from xsam_edge.runtime.progress import Progress, Step
from xsam_edge.runtime.user_cache import user_cache

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class EngineJob:
    """One engine to build. ``profiles`` hold smallest, likeliest and largest shape of every dynamic input."""

    graph: str
    onnx: Path
    engine: Path
    flavour: Flavour
    compute_capabilities: tuple[str, ...]
    profiles: tuple[Mapping[str, Shapes], ...]
    optimization_level: int | None = None
    timing_cache: Path | None = None

    def as_json(self) -> str:
        """The job as its process reads it."""
        values = asdict(self)
        for name in ("onnx", "engine", "timing_cache"):
            values[name] = None if values[name] is None else str(values[name])
        values["profiles"] = [inputs for inputs in values["profiles"] if inputs]
        return json.dumps(values)


@dataclass(frozen=True)
class BuiltEngine:
    """What a build tells: layers of the network, warnings and how often each came, memory at the peak.

    ``scratch_bytes`` are the activations of each profile, in their order; none where the library does not say.
    """

    graph: str
    version: str
    layers: int
    peak_memory_bytes: int
    engine_bytes: int
    scratch_bytes: tuple[int, ...]
    warnings: Mapping[str, int] = field(default_factory=dict)


def build_engine(job: EngineJob, progress: Progress) -> BuiltEngine:
    """Build one engine.

    Raises:
        EngineBuildError: polygraphy or the library is missing, the graph cannot be compiled, or the compiler died.
    """
    last: dict[str, Any] = {}
    doing = "start"
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "xsam_edge.export.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(job.as_json())
            process.stdin.close()
            for line in process.stdout:
                last = json.loads(line)
                if last["event"] == "progress":
                    doing = last["phase"]
                    progress(Step(f"{job.graph}: {doing}", last["step"], last["steps"] or None, "steps"))
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if last.get("event") == "done":
            return _built(job, last)
        if last.get("event") == "failed":
            raise EngineBuildError(_missing(last["errors"]) or explain(job.graph, last["errors"]))
        raise EngineBuildError(f"{job.graph}: {_death(code)}, in its phase {doing!r}{_tail(printed)}")


def _built(job: EngineJob, told: Mapping[str, Any]) -> BuiltEngine:
    scratch = tuple(told["scratch_bytes"])
    return BuiltEngine(
        graph=job.graph,
        version=told["version"],
        layers=told["layers"],
        peak_memory_bytes=told["peak_memory_bytes"],
        engine_bytes=told["engine_bytes"],
        scratch_bytes=scratch if len(scratch) == len(job.profiles) else (),
        warnings=told["warnings"],
    )


def _missing(errors: list[str]) -> str:
    text = " ".join(errors)
    if match := re.search(r"No module named '?(polygraphy|tensorrt_rtx|tensorrt)", text):
        extra = "tensorrt-rtx" if match[1] == "tensorrt_rtx" else "tensorrt"
        return f"{match[1]} is not installed; run `pip install xsam-edge[{extra}]`"
    return ""


def _death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the compiler was killed, as a system out of memory does (free some, add swap, or shorten --context)"
    if code < 0:
        name = signal.Signals(-code).name
        return f"the compiler crashed ({name}; try a bundle of --precision fp16, or another version of the library)"
    return f"the compiler ended with exit code {code}"


def _tail(printed: Any) -> str:
    printed.seek(0)
    lines = [line.strip() for line in printed.read().decode(errors="replace").splitlines() if line.strip()]
    return f"; it last said: {lines[-1][:200]}" if lines else ""


def timing_cache(flavour: Flavour, version: str, device: DeviceInfo | None) -> Path | None:
    """Where kernel timings of this library, GPU and driver are kept; None without a GPU: nothing is timed."""
    if device is None:
        return None
    name = "-".join((flavour, version, device.name, device.compute_capability, device.driver or "unknown"))
    return user_cache() / "timing" / (re.sub(r"[^\w.-]+", "_", name) + ".cache")
