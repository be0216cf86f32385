"""What the runtime has to reach on a GPU, and whether a check's figures do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xsam_edge.benchmarks.gpu_check.records import DEVICE, Record, find
from xsam_edge.benchmarks.gpu_check.stages import FIRST, GPU_MEMORY, NEXT, STEP, stage
from xsam_edge.benchmarks.watch import STAGES

#: Milliseconds at most, on an H100, of the full-size model in FP16.
LIMITS = {FIRST: 60.0, NEXT: 10.0, STEP: 4.0}
OVERLAP = 0.95  # of masks on a GPU with those on a CPU
_OURS = ("full-cuda", "full-gpu")
_TORCH, _COMPILED = "torch", "torch-compile"


@dataclass(frozen=True)
class Goal:
    """One goal: ``met`` is None where what it takes was not measured."""

    text: str
    found: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "met", False: "not met", None: "not measured"}[self.met]


def goals(records: Sequence[Record]) -> list[Goal]:
    """All goals, judged by the dialect whose first answer is the faster; times of a CPU are none of theirs."""
    measured = [step for step in _OURS if find(records, step, GPU_MEMORY) and find(records, step, FIRST)]
    ours = min(measured, key=lambda step: find(records, step, FIRST) or 0.0, default=None)
    found = [_limit(records, ours, name, limit) for name, limit in LIMITS.items()]
    stages = [stage(name) for name in STAGES]
    found.append(_ahead(records, ours, "ahead of eager torch in every stage", _TORCH, "eager", stages))
    found.append(_ahead(records, ours, "ahead of torch.compile end to end", _COMPILED, "compiled", [FIRST, NEXT]))
    return [*found, *_agreement(records)]


def _limit(records: Sequence[Record], ours: str | None, name: str, limit: float) -> Goal:
    text = f"{name} within {limit:.0f} ms (H100, FP16, Phi-3 size)"
    time = find(records, ours, name) if ours else None
    if time is None:
        return Goal(text, "", None)
    return Goal(text, f"{time:.3g} ms, {ours}", time <= limit)


def _ahead(records: Sequence[Record], ours: str | None, text: str, step: str, side: str, names: Sequence[str]) -> Goal:
    pairs = [
        (name, find(records, ours, name) if ours else None, find(records, step, f"{side}: {name}")) for name in names
    ]
    known = [(name, own, other) for name, own, other in pairs if own is not None and other is not None]
    if not known:
        return Goal(text, "", None)
    behind = [f"{name} {own:.3g} against {other:.3g} ms" for name, own, other in known if own >= other]
    if behind:
        return Goal(text, f"behind: {', '.join(behind)}", False)
    least = min(other / own for _, own, other in known)
    missing = [name for name, own, other in pairs if own is None or other is None]
    if missing:
        return Goal(text, f"{least:.3g} times at least, but not measured: {', '.join(missing)}", None)
    return Goal(text, f"{least:.3g} times as fast at least, {ours}", True)


def _agreement(records: Sequence[Record]) -> Iterator[Goal]:
    """Each demo bundle's answers on a GPU and on a CPU; a CPU is not compared with itself."""
    if not any((record.step, record.name, record.value) == ("ort", DEVICE, "cuda") for record in records):
        return
    for record in records:
        if record.step != "ort" or not record.name.endswith(": texts equal"):
            continue
        bundle = record.name.partition(":")[0]
        overlap = find(records, "ort", f"{bundle}: least mask IoU")
        if overlap is not None:
            met = record.value is True and overlap >= OVERLAP
            text = f"{bundle} answers as on a CPU: equal texts, masks of IoU {OVERLAP} at least"
            yield Goal(text, f"{record.note}, IoU {overlap:.4f}", met)
