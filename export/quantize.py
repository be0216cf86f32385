"""A bundle in FP16, INT8 or INT4: calibrated, smoothed, searched, written, measured and reported.

Everything starts from an FP32 bundle in a folder of its own beside the output. It is what calibration runs, what the
masks are compared with and what the weights are read from; smoothing changes its weights in place. It is removed at
the end.
"""

from __future__ import annotations

import contextlib
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from xsam_edge.calibration.calibration_data import CalibrationData, open_calibration
from xsam_edge.calibration.statistics.collect import collect, default_cache
from xsam_edge.calibration.statistics.probes import Probe, make_probe
from xsam_edge.calibration.statistics.ranges import activation_range, parse_method
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.export.bundle import BundleRequest, fill_bundle, seal, write_graph
from xsam_edge.export.gate.measure import Exam, Score
from xsam_edge.export.gate.search import Precisions, Search, SearchResult, Trial
from xsam_edge.export.gate.trial import Trials
from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.precision.plan import GraphNames, Plan, check_plan, resolve
from xsam_edge.export.precision.presets import preset
from xsam_edge.export.quantization import lowering, smoothing
from xsam_edge.export.quantization.sites import find_sites
from xsam_edge.export.quantize_plan import QuantizeOptions, precision_of
from xsam_edge.export.report.facts import CalibrationFacts, Report
from xsam_edge.export.report.gather import Measured, gather, pictures_of
from xsam_edge.export.report.write import write_report
from xsam_edge.export.staging import staged
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, FileEntry, GraphSpec, Manifest, hash_file, read_manifest
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.progress import Progress, Step

PLAN_FILE = "precision_plan.json"


def quantize_bundle(
    request: BundleRequest, output: Path, options: QuantizeOptions, *, overwrite: bool = False, progress: Progress
) -> tuple[Manifest, Report]:
    """Write a bundle of lower precision to ``output``.

    Raises:
        InputError: a plan, data or an output that cannot be used.
        CheckpointError: a weight that is not finite, or does not fit its type.
        XSamError: an activation that is not finite, a full disk, or masks that stay below the bound.
    """
    start = time.perf_counter()
    data = _open_data(options)  # before any work: it may not exist
    with staged(output, overwrite) as folder, _beside(output) as base:
        fill_bundle(replace(request, precision="fp32"), base, progress)
        quantization = _Quantization(request, base, options, data, progress)
        manifest, measured = quantization.write(folder)
        report = gather(measured, manifest, read_manifest(base), time.perf_counter() - start, _peak_memory())
        (folder / PLAN_FILE).write_text(measured.plan.to_json(), encoding="utf-8")
        write_report(folder, report, pictures_of(measured.score))
        manifest = _bind(folder, manifest, report.degraded)
    return manifest, report


def _open_data(options: QuantizeOptions) -> CalibrationData | None:
    """The data of calibration and gate, None where neither is wanted."""
    if options.ranges is not None:
        parse_method(options.ranges)
    quantizes = options.plan.quantizes if options.plan else "int8" in (options.precision, options.encoders)
    if quantizes or options.precision == "int4" or options.min_iou > 0:
        return open_calibration(options.data, options.samples, options.held_out)
    return None


@contextlib.contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A folder on the same disk, where large files fit."""
    parent = output.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", suffix=".fp32", dir=parent) as folder:
        yield Path(folder)


class _Quantization:
    """The steps between an FP32 bundle and a measured one of lower precision."""

    def __init__(
        self,
        request: BundleRequest,
        base: Path,
        options: QuantizeOptions,
        data: CalibrationData | None,
        progress: Progress,
    ) -> None:
        self.request, self.base, self.options, self.data, self.progress = request, base, options, data, progress
        self.names = lowering.bundle_names(base)
        self.plan = self._plan()
        check_plan(self.plan, self.names)
        parse_method(self.plan.ranges)
        self.calibration = CalibrationFacts(options.data, 0)
        self.groups: list[smoothing.SmoothingGroup] = []
        self.ranges: dict[str, float] = {}
        self.notes: list[str] = list(data.notes) if data else []

    def _plan(self) -> Plan:
        options = self.options
        plan = options.plan or preset(
            options.precision, self.names.nodes, float_type=options.float_type, encoders=options.encoders
        )
        if options.ranges is not None:
            plan = replace(plan, ranges=options.ranges)
        return plan if options.smoothing is None else replace(plan, smoothing=options.smoothing)

    def write(self, folder: Path) -> tuple[Manifest, Measured]:
        """Calibrate, search, write and measure."""
        stats = self._statistics() if self.plan.quantizes else {}
        exam = self._exam()
        if self.plan.quantizes:
            self._smooth_and_range(stats)
        started = time.perf_counter()
        outcome = Search(self.names, self._trial(exam), self.options.min_iou).run(self.plan) if exam else None
        plan = outcome.plan if outcome else self.plan
        if outcome and not outcome.passed:
            self._below(outcome.score, outcome)
        precisions = resolve(plan, self.names)
        graphs = {name: self._write_graph(name, plan, precisions, folder) for name in contract.GRAPHS}
        manifest = seal(self.request, folder, precision_of(plan), plan.float, graphs, self.progress)
        score = exam.score(folder, what="gate: the written bundle") if exam else None
        if outcome and score and outcome.passed and score.mean_iou < self.options.min_iou:
            self._below(score, outcome)
        return manifest, Measured(
            request=self.request,
            base=self.base,
            folder=folder,
            plan=plan,
            precisions=precisions,
            names=self.names,
            outcome=outcome,
            score=score,
            min_iou=self.options.min_iou,
            seconds=time.perf_counter() - started,
            calibration=self.calibration,
            groups=tuple(self.groups),
            pictures=self.data.held_out if self.data and exam else (),
            notes=tuple(self.notes),
            threads=self.options.threads,
            progress=self.progress,
        )

    def _statistics(self) -> dict[str, TensorStats]:
        """Of every site's activation, by the graph's file and the tensor, ``llm.onnx:NAME``."""
        assert self.data is not None
        seen = False

        def progress(step: Step) -> None:
            nonlocal seen
            seen = True
            self.progress(step)

        stats = collect(
            self.base,
            self.data,
            _probes,
            self.options.cache or default_cache(),
            threads=self.options.threads,
            progress=progress,
        )
        self.calibration = CalibrationFacts(self.options.data, stats.pictures, stats.unreadable, from_cache=not seen)
        return dict(stats.tensors)

    def _exam(self) -> Exam | None:
        if self.options.min_iou <= 0:
            self.notes.append("masks were not compared with FP32")
            return None
        assert self.data is not None
        return Exam(self.base, self.data.held_out, threads=self.options.threads, progress=self.progress)

    def _smooth_and_range(self, stats: Mapping[str, TensorStats]) -> None:
        """Change the weights, and set the range of every int8 site. Sites that no data reached stay float."""
        precisions = resolve(self.plan, self.names)
        quantized = {name for name, precision in precisions.items() if precision.quantized}
        unreached: dict[str, str] = {}
        for name in contract.GRAPHS:
            self.progress(Step(f"{name}: smoothing"))
            opened = lowering.open_graph(self.base / f"{name}.onnx")
            own = {key.partition(":")[2]: value for key, value in stats.items() if key.startswith(f"{name}.onnx:")}
            if self.plan.smoothing:
                groups, own = smoothing.smooth(opened, quantized, own)
                self.groups += groups
            for site in find_sites(opened.model.graph, opened.plans):
                activation_stats, node = own.get(str(site.activation.name)), str(site.node.name)
                if activation_stats is None or not activation_stats.reached:
                    unreached[node] = "no calibration data reached it"
                else:
                    self.ranges[node] = activation_range(activation_stats, self.plan.ranges)
        self.names = _without(self.names, unreached)

    def _trial(self, exam: Exam) -> Trial:
        trials = Trials(self.base, self.ranges, self.options.threads)

        def trial(precisions: Precisions, limit: int | None, what: str) -> Score:
            return exam.score(self.base, trials.backend(precisions), limit=limit, what=f"gate: {what}")

        return trial

    def _write_graph(self, name: str, plan: Plan, precisions: Precisions, folder: Path) -> GraphSpec:
        opened = lowering.open_graph(self.base / f"{name}.onnx")
        lowering.lower(opened, plan.float, precisions, self.ranges, FP32_TENSORS)
        return write_graph(opened.model, opened.plans, opened.source, name, folder, self.progress, annotated=False)

    def _below(self, score: Score, outcome: SearchResult) -> None:
        if self.options.allow_degraded:
            self.notes.append("the masks agree less with FP32 than was asked for; shipped because that was allowed")
            return
        raise XSamError(
            f"the masks of {precision_of(self.plan)} agree with FP32 to a mean IoU of {score.mean_iou:.4f}, below the "
            f"bound of {self.options.min_iou}; that is the best of {outcome.trials} trials, with {len(outcome.raised)} "
            "blocks raised. Use a higher precision, more calibration samples, a lower --min-iou or --allow-degraded"
        )


def _probes(model: ir.Model) -> list[tuple[Probe, bool]]:
    probes: dict[str, tuple[Probe, bool]] = {}
    for site, per_channel in smoothing.probed(model.graph, lowering.stored_weights(model.graph)):
        probe = make_probe(site.activation, site.channel_axis)
        known = probes.get(probe.tensor)
        probes[probe.tensor] = (probe, per_channel or (known is not None and known[1]))
    return list(probes.values())


def _without(names: GraphNames, unreached: Mapping[str, str]) -> GraphNames:
    sites = {name: able - {"int8"} if name in unreached else able for name, able in names.sites.items()}
    reasons = {**names.reasons, **{(name, "int8"): why for name, why in unreached.items()}}
    return GraphNames(names.nodes, sites, reasons)


def _bind(folder: Path, manifest: Manifest, degraded: bool) -> Manifest:
    """Add files that were written after the manifest to it."""
    new = sorted(path for path in folder.iterdir() if path.name not in {*manifest.files, MANIFEST_FILE})
    files = {path.name: FileEntry(path.stat().st_size, hash_file(path)) for path in new}
    manifest = replace(manifest, files={**manifest.files, **files}, degraded=degraded)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
