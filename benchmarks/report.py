"""From rounds to the object that ``--json`` prints."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.benchmarks.flops import work_of
from xsam_edge.benchmarks.measure import Distribution, Round, Sample
from xsam_edge.benchmarks.peaks import Peaks
from xsam_edge.benchmarks.watch import STAGES, Call
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineInfo
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, Manifest, hash_file, read_manifest
from xsam_edge.runtime.bundle.work import Cost, GraphWork
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.progress import Progress, Step
from xsam_edge.runtime.results.iou import mask_iou

#: What each number of a side is, for the output.
EXPLAINED = {
    "stages": "time inside of one run of a graph, over all runs of the stage, where the parts that a prompt is run in "
    "are one; of llm_prefill a prompt, of llm_suffix several tokens behind a past, of llm_decode one token",
    "flops": "of matrix products and convolutions at `axes`, 2 per multiplication and addition",
    "bytes": "each weight once, inputs and outputs once, at `axes`",
    "peak_fraction": "the greater of flops / peak and bytes / bandwidth, over p50; above 1 where weights stay in a "
    "cache that is faster than memory",
    "overhead": "end to end less the time inside of graphs; runtime_* without pre- and post-processing, the latter of "
    "which is the resize to the picture's size",
}


@dataclass
class Costs:
    """Costs of a bundle's graphs; those of a graph are looked up once. ``missing`` says why some are not known."""

    bundle: Path
    manifest: Manifest
    missing: str | None = None
    _works: dict[str, GraphWork | None] = field(default_factory=dict)
    _largest: int = 0

    def of(self, graph: str, axes: Mapping[str, int]) -> Cost | None:
        """The cost of one run, None where it is not known."""
        if graph not in self._works:
            self._works[graph] = self._work(graph)
        work = self._works[graph]
        if work is None:
            return None
        # A torch side knows only the axes it needs; those that a graph has beside them are of size 1.
        cost = work.at({axis: axes.get(axis, 1) for axis in self.manifest.graphs[graph].axes})
        self._largest = max(self._largest, cost.activation_bytes)
        return cost

    def _work(self, graph: str) -> GraphWork | None:
        try:
            return work_of(self.bundle, self.manifest, graph)
        except BundleError as error:
            self.missing = self.missing or str(error)
            return None

    def largest_activations(self) -> int | None:
        """Activations of the greatest run among those that were asked for, None where some are not known."""
        return None if self.missing else self._largest


def counted(bundle: Path, manifest: Manifest, graphs: Path | None) -> Costs:
    """Costs of a bundle; those of engines in the ``graphs`` that they were compiled from, if given."""
    if manifest.engine is None or graphs is None:
        return Costs(bundle, manifest)
    source = read_manifest(graphs)
    return Costs(graphs, source) if compiled_from(manifest.engine, source) else Costs(bundle, manifest)


def compiled_from(engine: EngineInfo, source: Manifest) -> bool:
    """Whether engines are those of a bundle of graphs."""
    files = {name: source.files[graph.file].sha256 for name, graph in source.graphs.items()}
    return files == dict(engine.onnx)


def describe_bundle(bundle: Path, manifest: Manifest) -> dict[str, Any]:
    """What a bundle is; its hash is that of the manifest, which holds those of all other files."""
    return {
        "path": str(bundle),
        "sha256": hash_file(bundle / MANIFEST_FILE),
        "variant": manifest.variant,
        "precision": manifest.precision,
        "source": manifest.source.checkpoint,
        "weight_bytes": sum(entry.bytes for name, entry in manifest.files.items() if not name.endswith(".json")),
        "image_tokens": manifest.settings.model.image_tokens,
    }


def side_report(rounds: Sequence[Round], costs: Costs, peaks: Peaks | None, progress: Progress) -> dict[str, Any]:
    """Everything that is measured of one side."""
    firsts, nexts = [item.first for item in rounds], [item.next for item in rounds]
    samples = [*firsts, *nexts]
    answers = {"first": _times(firsts, "total_ms"), "next": _times(nexts, "total_ms")}
    return {
        "answers": answers,
        "next_is_faster_by": answers["first"]["p50_ms"] / answers["next"]["p50_ms"],
        "preprocess": _times(firsts, "preprocess_ms"),
        "postprocess": _times(samples, "postprocess_ms"),
        "stages": stage_reports([call for s in samples for call in s.calls], costs, peaks, progress),
        "overhead": {"first": overhead(firsts), "next": overhead(nexts)},
        "llm_forwards_per_answer": statistics.fmean(_forwards(sample) for sample in samples),
        "tokens_per_answer": statistics.fmean(len(sample.tokens) for sample in samples),
        "segmented": sum(sample.mask is not None for sample in samples) / len(samples),
        "samples_ms": {"first": [round(s.total_ms, 3) for s in firsts], "next": [round(s.total_ms, 3) for s in nexts]},
    }


def _times(samples: Sequence[Sample], name: str) -> dict[str, Any]:
    return Distribution.of([getattr(sample, name) for sample in samples]).to_json()


def _forwards(sample: Sample) -> int:
    return sum(call.graph == contract.LLM for call in sample.calls)


def overhead(samples: Sequence[Sample]) -> dict[str, float]:
    """Medians of what is spent outside of graphs, in milliseconds and as shares of the whole."""
    outside = [s.total_ms - s.graphs_ms for s in samples]
    runtime = [o - s.preprocess_ms - s.postprocess_ms for o, s in zip(outside, samples, strict=True)]
    totals = [s.total_ms for s in samples]
    return {
        "outside_graphs_ms": statistics.median(outside),
        "outside_graphs_share": statistics.median(o / t for o, t in zip(outside, totals, strict=True)),
        "runtime_ms": statistics.median(runtime),
        "runtime_share": statistics.median(r / t for r, t in zip(runtime, totals, strict=True)),
        "without_postprocess_ms": statistics.median(
            o - s.postprocess_ms for o, s in zip(outside, samples, strict=True)
        ),
        "without_postprocess_share": statistics.median(
            (o - s.postprocess_ms) / s.total_ms for o, s in zip(outside, samples, strict=True)
        ),
    }


def stage_reports(calls: Sequence[Call], costs: Costs, peaks: Peaks | None, progress: Progress) -> list[dict[str, Any]]:
    """One entry per stage that ran, in the order of the chain.

    Cost is that of the stage's median run: sizes differ from answer to answer by a few tokens. What is not known is
    None.
    """
    reports = []
    for stage in STAGES:
        runs = [call for call in calls if call.stage == stage]
        if not runs:
            continue
        progress(Step(f"count the work of {stage}"))
        axes = sorted(runs, key=lambda call: sorted(call.axes.items()))[len(runs) // 2].axes
        times = Distribution.of([call.ms for call in runs])
        work = costs.of(runs[0].graph, axes)
        reports.append({"name": stage, **times.to_json(), "axes": dict(axes), **_work(work, peaks, times)})
    return reports


def _work(work: Cost | None, peaks: Peaks | None, times: Distribution) -> dict[str, Any]:
    """What a stage has to do, and how near it comes to the machine's best."""
    known: dict[str, Any] = dict.fromkeys(
        ("flops", "bytes", "weight_bytes", "activation_bytes", "limit_ms", "bound", "peak_fraction")
    )
    if work is None:
        return {**known, "uncounted": []}
    known |= {name: getattr(work, name) for name in ("flops", "bytes", "weight_bytes", "activation_bytes")}
    if peaks is not None:
        limit, bound = peaks.limit_ms(work.flops, work.bytes)
        known |= {"limit_ms": limit, "bound": bound, "peak_fraction": limit / times.p50_ms}
    return {**known, "uncounted": list(work.uncounted)}


def compare(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """How many times as long the other side takes, at p50: above 1 where the bundle is faster."""
    stages = {stage["name"]: stage["p50_ms"] for stage in own["stages"]}
    return {
        **{name: other["answers"][name]["p50_ms"] / own["answers"][name]["p50_ms"] for name in ("first", "next")},
        "stages": {
            stage["name"]: stage["p50_ms"] / stages[stage["name"]]
            for stage in other["stages"]
            if stage["name"] in stages
        },
    }


def agreement(own: Sequence[Round], other: Sequence[Round]) -> dict[str, Any]:
    """Whether two sides said and drew the same."""
    pairs = [
        (getattr(a, name), getattr(b, name)) for a, b in zip(own, other, strict=True) for name in ("first", "next")
    ]
    ious = [iou(a.mask, b.mask) for a, b in pairs]
    return {
        "same_tokens": all(a.tokens == b.tokens for a, b in pairs),
        "answers_with_same_tokens": sum(a.tokens == b.tokens for a, b in pairs) / len(pairs),
        "min_mask_iou": min(ious),
        "mean_mask_iou": statistics.fmean(ious),
        "n": len(pairs),
    }


def iou(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Intersection over union; 1 of two empty or two missing masks, 0 where one is missing."""
    if a is None or b is None:
        return float(a is b)
    return mask_iou(a, b)
