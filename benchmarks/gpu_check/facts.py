"""The machine as ``xsam-doctor`` tells it, the card's clocks, and the versions of what the steps use."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from xsam_edge.benchmarks import environment
from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.doctor.software import show

# Of `nvidia-smi --query-gpu`: what a card may do, and what it does now.
_CARD = (
    "name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.max.sm", "clocks.max.mem",
    "power.limit", "pstate",
)  # fmt: skip
_PACKAGES = (
    "torch", "triton", "cupy-cuda13x", "cupy-cuda12x", "nvidia-cudnn-cu13", "nvidia-cublas", "transformers", "onnx-ir",
    "onnxscript",
)  # fmt: skip


def run(_setting: Setting, say: Recorder) -> None:
    """The step."""
    host = Host()
    for name, value in card(host):
        say(name, value)
    for package in _PACKAGES:
        if found := _version(package):
            say(f"version of {package}", found)
    for section, facts in environment.describe(usable_cores(), host).items():
        for fact, value in facts.items():
            if value is not None:
                say(f"{section}: {fact}", show(fact, value))


def card(host: Host) -> Iterator[tuple[str, str]]:
    """What ``nvidia-smi`` says of the first card; nothing where it is absent."""
    answer = host.output("nvidia-smi", f"--query-gpu={','.join(_CARD)}", "--format=csv,noheader") or ""
    for line in answer.splitlines()[:1]:
        values = [value.strip() for value in line.split(",")]
        if len(values) == len(_CARD):
            yield from ((f"card: {name}", value) for name, value in zip(_CARD, values, strict=True))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
