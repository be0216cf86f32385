from __future__ import annotations

from dataclasses import replace
from typing import Any

from xsam_edge.runtime.doctor.readings import Memory
from xsam_edge.runtime.ros.diagnostics import ERROR, OK, WARN, Status, status
from xsam_edge.runtime.ros.faults import Fault
from xsam_edge.runtime.ros.statistics import Report

REPORT = Report(
    received=300, answered=100, late=3, dropped=197, damaged=0, input_rate=30.0, rate=10.02, p50=81.26, p95=99.0,
    silence=0.03,
)  # fmt: skip


def told(state: str = "active", report: Report = REPORT, faults: tuple[Fault, ...] = (), **options: Any) -> Status:
    given: dict[str, Any] = {"memory": Memory(None), "temperatures": {}, "facts": {}} | options
    return status(state, report, faults, silent_after=2.0, **given)


def test_all_is_well() -> None:
    found = told(
        memory=Memory(512_000_000, 1_500_000_000, 8_000_000_000),
        temperatures={"gpu-thermal": 51.25},
        facts={"prompt": "the red cup"},
    )
    assert (found.level, found.message) == (OK, "10.0 frames per second")
    values = dict(found.values)
    assert len(values) == len(found.values)
    assert values["latency p50 (ms)"] == "81.3" and values["latency p95 (ms)"] == "99.0"
    assert (values["dropped"], values["late"], values["received"]) == ("197", "3", "300")
    assert values["memory of the process"] == "512.0 MB"
    assert values["device memory"] == "1.50 GB of 8.00 GB"
    assert values["temperature gpu-thermal (C)"] == "51.2"
    assert values["prompt"] == "the red cup"


def test_what_nothing_tells_is_unknown() -> None:
    values = dict(told(report=replace(REPORT, p50=None, p95=None, silence=None)).values)
    for name in ("latency p50 (ms)", "seconds since the last image", "device memory", "temperature (C)"):
        assert values[name] == "unknown"


def test_silence() -> None:
    assert told(report=replace(REPORT, silence=2.1)).level == WARN
    assert told(report=replace(REPORT, silence=2.1)).message == "no image came for 2.1 s"
    assert told(report=replace(REPORT, silence=None)).level == WARN
    assert told("inactive", replace(REPORT, silence=None)).level == OK, "nothing is expected"


def test_faults() -> None:
    error, warning = Fault("image", "the encoding 'x' is unknown"), Fault("bundle", "is gone", error=False)
    found = told(faults=(error, warning))
    assert (found.level, found.message) == (ERROR, "image: the encoding 'x' is unknown (and 1 more)")
    assert dict(found.values)["warning: bundle"] == "is gone"
    assert told("unconfigured", faults=(warning,)).level == WARN
