"""Times of work in torch: on a GPU by events, as it is launched and replayed as one CUDA graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Medians in milliseconds. ``replayed_ms`` is None where nothing was replayed, and ``note`` says why."""

    eager_ms: float
    replayed_ms: float | None
    note: str = ""

    @property
    def best_ms(self) -> float:
        """The lesser of both."""
        return self.eager_ms if self.replayed_ms is None else min(self.eager_ms, self.replayed_ms)


def timed(run: Callable[[], object], device: str, repeat: int, *, replay: bool = True) -> Timing:
    """Time work of ``device`` after one run that is not counted."""
    run()
    if device == "cpu":
        return Timing(median_ms(run, device, repeat), None, "not replayed on a CPU")
    eager = median_ms(run, device, repeat)
    if not replay:
        return Timing(eager, None)
    try:
        graph = _capture(run)
    except Exception as error:  # some work waits for the host or allocates, which ends a capture
        torch.cuda.synchronize()
        return Timing(eager, None, f"cannot be captured: {' '.join(str(error).split())[:80]}")
    return Timing(eager, median_ms(graph.replay, device, repeat))


def _capture(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries set themselves up in a stream's first run
        run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def median_ms(run: Callable[[], object], device: str, repeat: int) -> float:
    """Milliseconds of the median of ``repeat`` runs."""
    once = _on_host if device == "cpu" else _on_device
    return statistics.median(once(run) for _ in range(repeat))


def _on_host(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def _on_device(run: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))
