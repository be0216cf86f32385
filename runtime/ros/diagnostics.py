"""The node's status for ``/diagnostics``, out of what was counted and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xsam_edge.runtime.doctor.readings import Memory
from xsam_edge.runtime.ros.faults import Fault
from xsam_edge.runtime.ros.statistics import Report
from xsam_edge.runtime.units import size

# As diagnostic_msgs/DiagnosticStatus has them.
OK, WARN, ERROR, STALE = 0, 1, 2, 3


@dataclass(frozen=True)
class Status:
    """A level, one line, and values as text, in the order in which they are shown."""

    level: int
    message: str
    values: tuple[tuple[str, str], ...]


def status(
    state: str,
    report: Report,
    faults: Sequence[Fault],
    *,
    silent_after: float,
    memory: Memory,
    temperatures: Mapping[str, float],
    facts: Mapping[str, str],
) -> Status:
    """Judge and list.

    Args:
        state: of the lifecycle: "unconfigured", "inactive", "active".
        report: what became of the frames.
        faults: what is wrong, errors first.
        silent_after: seconds without a message after which an active node warns.
        memory: what is used.
        temperatures: degrees Celsius by name.
        facts: what else is shown, such as the prompt.
    """
    level, message = _judged(state, report, faults, silent_after)
    values = {
        "state": state,
        "rate (Hz)": f"{report.rate:.1f}",
        "input rate (Hz)": f"{report.input_rate:.1f}",
        "latency p50 (ms)": _number(report.p50),
        "latency p95 (ms)": _number(report.p95),
        "received": str(report.received),
        "answered": str(report.answered),
        "dropped": str(report.dropped),
        "late": str(report.late),
        "damaged": str(report.damaged),
        "seconds since the last image": _number(report.silence),
        "memory of the process": _bytes(memory.process),
        "device memory": _device(memory),
    }
    values |= {f"temperature {name} (C)": f"{degrees:.1f}" for name, degrees in temperatures.items()}
    if not temperatures:
        values["temperature (C)"] = "unknown"
    values |= facts
    values |= {f"{'error' if fault.error else 'warning'}: {fault.kind}": fault.message for fault in faults}
    return Status(level, message, tuple(values.items()))


def _judged(state: str, report: Report, faults: Sequence[Fault], silent_after: float) -> tuple[int, str]:
    if faults:
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return (ERROR if faults[0].error else WARN), f"{faults[0].kind}: {faults[0].message}{others}"
    if state != "active":
        return OK, state
    if report.silence is None:
        return WARN, "no image came yet; check that the topic is remapped to that of a camera, and its QoS"
    if report.silence > silent_after:
        return WARN, f"no image came for {report.silence:.1f} s"
    return OK, f"{report.rate:.1f} frames per second"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else size(count)


def _device(memory: Memory) -> str:
    if memory.device_used is None:
        return "unknown"
    return f"{_bytes(memory.device_used)} of {_bytes(memory.device_total)}"
