"""Counters and histograms in the text format of Prometheus.

The format is a page of lines; writing it takes less than a dependency would. All is counted in the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from xsam_edge.runtime.doctor import readings
from xsam_edge.runtime.doctor.host import Host

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Counter:
    """How often something happened, by labels."""

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Count once more under these values of the labels."""
        self._values[values] = self._values.get(values, 0.0) + amount

    def lines(self) -> Iterator[str]:
        """Its part of the page."""
        yield from _head(self.name, self.help, "counter")
        for values, count in sorted(self._values.items()):
            yield _line(self.name, dict(zip(self.labels, values, strict=True)), count)


class Histogram:
    """How values are distributed, by one label."""

    def __init__(self, name: str, help: str, bounds: Sequence[float], label: str | None = None) -> None:
        self.name, self.help, self.label, self._bounds = name, help, label, tuple(bounds)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: float, key: str = "") -> None:
        """Note a value under a value of the label."""
        counts = self._counts.setdefault(key, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + value

    def lines(self) -> Iterator[str]:
        """Its part of the page."""
        yield from _head(self.name, self.help, "histogram")
        for key, counts in sorted(self._counts.items()):
            labels = {} if self.label is None else {self.label: key}
            for bound, count in zip((*map(str, self._bounds), "+Inf"), accumulate(counts), strict=True):
                yield _line(f"{self.name}_bucket", {**labels, "le": bound}, count)
            yield _line(f"{self.name}_sum", labels, self._sums[key])
            yield _line(f"{self.name}_count", labels, sum(counts))


class Gauge:
    """A value that is read when the page is."""

    def __init__(
        self, name: str, help: str, read: Callable[[], float], labels: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.help, self._read, self._labels = name, help, read, dict(labels or {})

    def lines(self) -> Iterator[str]:
        """Its part of the page."""
        yield from _head(self.name, self.help, "gauge")
        yield _line(self.name, self._labels, self._read())


class Metrics:
    """What a server counts."""

    def __init__(self) -> None:
        self.requests = Counter("xsam_requests_total", "Requests by path and status.", "path", "status")
        self.stages = Histogram(
            "xsam_stage_seconds", "Time of answered requests by stage, waiting included.", SECONDS, "stage"
        )
        self.batches = Histogram("xsam_batch_prompts", "Prompts that were answered together.", SIZES)
        self.hits = Counter("xsam_scene_hits_total", "Requests whose picture was kept already.")
        self.misses = Counter("xsam_scene_misses_total", "Requests that brought a new picture.")
        self.gauges: list[Gauge] = []

    def page(self) -> str:
        """The page, as ``CONTENT_TYPE``."""
        every: list[Counter | Histogram | Gauge] = [
            self.requests,
            self.stages,
            self.batches,
            self.hits,
            self.misses,
            *self.gauges,
        ]
        return "\n".join(line for metric in every for line in metric.lines()) + "\n"


def resident_bytes() -> float:
    """Memory of this process that is resident; 0 where the system does not say."""
    return float(readings.resident_bytes(Host()) or 0)


def _head(name: str, help: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {help}", f"# TYPE {name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    shown = str(int(value)) if value == int(value) else repr(value)
    return f"{name}{{{inner}}} {shown}" if inner else f"{name} {shown}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
