"""A bundle in FP16, INT8, INT4 or FP8: calibrated, smoothed, searched, written, measured and reported.

Everything starts from an FP32 bundle in a folder of its own beside the output. It is what calibration runs, what the
masks are compared with and what the weights are read from; smoothing changes its weights in place. It is removed at
the end.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.calibration_data import CalibrationData, open_calibration
from xsam_edge.calibration.instrumented import check_device
from xsam_edge.calibration.staged.run import fits_whole
from xsam_edge.calibration.statistics.collect import collect, default_cache
from xsam_edge.calibration.statistics.ranges import activation_range, parse_method
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.export.bundle import BundleRequest, fill_bundle, finish, seal, write_graph
from xsam_edge.export.gate.measure import INTERVAL, Exam, Score
from xsam_edge.export.gate.peaks import Peaks, half_range, half_values, measure, raise_peaks
from xsam_edge.export.gate.ranking import Ranking
from xsam_edge.export.gate.search import Search, SearchResult, Trial
from xsam_edge.export.gate.trial import Trials, written_backend
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.memory import MemoryWatch
from xsam_edge.export.precision.plan import (
    Assignment,
    GraphNames,
    NodePrecision,
    Plan,
    Quantized,
    assign,
    check_plan,
    resolve,
)
from xsam_edge.export.precision.presets import preset
from xsam_edge.export.quantization import lowering, smoothing
from xsam_edge.export.quantization.kv_cache import CacheCodes, new_rows
from xsam_edge.export.quantization.probes import probes_of
from xsam_edge.export.quantization.sites import find_sites
from xsam_edge.export.quantize_plan import QuantizeOptions, precision_of
from xsam_edge.export.report.facts import CalibrationFacts, Report
from xsam_edge.export.report.gather import Measured, gather, pictures_of, unmeasured
from xsam_edge.export.report.write import write_report
from xsam_edge.export.staging import beside, staged
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import (
    MANIFEST_FILE,
    FileEntry,
    GraphSpec,
    HalfRange,
    Manifest,
    read_manifest,
)
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.progress import Progress, Step, within

PLAN_FILE = "precision_plan.json"
RANKED = 2  # pictures that blocks are ranked on
_WITH_RANGE: frozenset[Quantized] = frozenset({"int8", "fp8"})  # precisions that quantise activations too


def quantize_bundle(
    request: BundleRequest,
    output: Path,
    options: QuantizeOptions,
    *,
    overwrite: bool = False,
    graphs: Path | None = None,
    progress: Progress,
) -> tuple[Manifest, Report]:
    """Write a bundle of lower precision to ``output``.

    ``graphs`` is what :func:`fill_bundle` made of the request in FP32, not finished, for who quantises one model many
    times; it is copied. By default it is made here.

    Raises:
        InputError: a plan, data or an output that cannot be used, or values that FP16 must hold and cannot.
        CheckpointError: a weight that is not finite, or does not fit its type.
        XSamError: an activation that is not finite, a full disk, or masks that stay below the bound.
    """
    start = time.perf_counter()
    options = options.for_parameters(sum(map(prod, request.weights.shapes.values())))
    if options.is_plain_half:
        return _write_half(request, output, overwrite, progress)
    data = _open_data(options)  # before any work: it may not exist
    check_device(options.device)
    with MemoryWatch() as memory, staged(output, overwrite, progress) as folder, beside(output, ".fp32") as base:
        if graphs is None:
            fill_bundle(replace(request, precision="fp32"), base, progress, finished=False)
        else:
            shutil.copytree(graphs, base, dirs_exist_ok=True)
        quantization = _Quantization(request, base, options, data, progress)
        manifest, measured = quantization.write(folder)
        report = gather(measured, manifest, read_manifest(base), time.perf_counter() - start, memory.peak())
        (folder / PLAN_FILE).write_text(measured.plan.to_json(), encoding="utf-8")
        write_report(folder, report, pictures_of(measured.score))
        manifest = replace(manifest, degraded=report.degraded, half_range=measured.half_range)
        new = {path.name for path in folder.iterdir()} - {*manifest.files, MANIFEST_FILE}
        manifest = _bind(folder, manifest, new)
    return manifest, report


def _write_half(request: BundleRequest, output: Path, overwrite: bool, progress: Progress) -> tuple[Manifest, Report]:
    """Round to FP16 what the checkpoint holds, on the way into the bundle."""
    start = time.perf_counter()
    with MemoryWatch() as memory, staged(output, overwrite, progress) as folder:
        manifest = replace(
            fill_bundle(replace(request, precision="fp16"), folder, progress),
            half_range=HalfRange(0),
        )
        report = unmeasured(manifest, time.perf_counter() - start, memory.peak())
        write_report(folder, report, {})
        manifest = _bind(folder, manifest, {path.name for path in folder.iterdir()} - {*manifest.files, MANIFEST_FILE})
    return manifest, report


def _open_data(options: QuantizeOptions) -> CalibrationData | None:
    """The data of calibration and gate, None where neither is wanted."""
    if options.ranges is not None:
        parse_method(options.ranges)
    wanted = {options.precision, options.encoders}
    calibrates = options.plan.calibrates if options.plan else not wanted.isdisjoint(get_args(Quantized))
    if calibrates or options.kv_cache is not None or options.min_iou > 0 or options.checked > 0:
        assert options.samples is not None and options.held_out is not None, "set by for_parameters"
        return open_calibration(options.data, options.samples, options.held_out)
    return None


class _Quantization:
    """The steps between an FP32 bundle and a measured one of lower precision.

    ``plan`` is that of the options, and gains the islands that the range of FP16 asks for.
    """

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
        self.cache_ranges: dict[str, npt.NDArray[np.float32]] = {}
        self.peaks = Peaks(0, {})
        self.notes: list[str] = list(data.notes) if data else []
        self.deadline: float | None = None

    def _plan(self) -> Plan:
        options = self.options
        plan = options.plan or preset(
            options.precision,
            self.names.nodes,
            dialect=self.request.dialect,
            float_type=options.float_type,
            encoders=options.encoders,
        )
        if options.ranges is not None:
            plan = replace(plan, ranges=options.ranges)
        if options.kv_cache is not None:
            plan = replace(plan, kv_cache=options.kv_cache)
        return plan if options.smoothing is None else replace(plan, smoothing=options.smoothing)

    def write(self, folder: Path) -> tuple[Manifest, Measured]:
        """Calibrate, check ranges, search, write and measure."""
        asked = self.plan
        stats = self._statistics() if self.plan.calibrates else {}
        exam = self._exam()
        if self.plan.kv_cache is not None:
            self._range_cache(stats)
        if self.plan.quantizes:
            self._smooth_and_range(stats)
        self._check_range()
        started = time.perf_counter()
        outcome: SearchResult | None = None
        score: Score | None = None
        if exam is None:
            plan, manifest = self.plan, self._write(self.plan, folder)
        else:
            outcome, manifest, score = self._search(exam, folder)
            plan = outcome.plan
            self.notes += _changes(self.plan, plan)
        if plan.kv_cache is not None:
            self.notes.append(f"keys and values are stored in {plan.kv_cache}, with a scale for each head")
        raised = len(self.plan.islands) - len(asked.islands)
        return manifest, Measured(
            request=self.request,
            base=self.base,
            folder=folder,
            asked=asked,
            plan=plan,
            precisions=resolve(plan, self.names),
            names=self.names,
            outcome=outcome,
            score=score,
            min_iou=self.options.min_iou,
            seconds=time.perf_counter() - started,
            calibration=self.calibration,
            groups=tuple(self.groups),
            pictures=self.data.held_out if self.data and exam else (),
            half_range=half_range(self.base, assign(plan, self.names), self.peaks, raised),
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
            partial(probes_of, cache=self.plan.kv_cache is not None),
            self.options.cache or default_cache(),
            threads=self.options.threads,
            device=self.options.device,
            progress=progress,
        )
        self.calibration = CalibrationFacts(
            self.options.data, stats.pictures, stats.unreadable, from_cache=not seen, device=self.options.device
        )
        return dict(stats.tensors)

    def _exam(self) -> Exam | None:
        if self.options.min_iou <= 0:
            self.notes.append("masks were not compared with FP32")
            return None
        assert self.data is not None
        self.deadline = self.options.gate_minutes and time.monotonic() + 60 * self.options.gate_minutes
        return Exam(
            self.base,
            self.data.held_out,
            minutes=self.options.gate_minutes,
            threads=self.options.threads,
            progress=self.progress,
        )

    def _smooth_and_range(self, stats: Mapping[str, TensorStats]) -> None:
        """Change the weights, and set the range of every activation. Sites that no data reached stay float."""
        precisions = resolve(self.plan, self.names)
        quantized = {name for name, precision in precisions.items() if precision.quantized}
        unreached: dict[str, str] = {}
        for name in contract.GRAPHS:
            opened = lowering.open_graph(self.base / f"{name}.onnx")
            own = {key.partition(":")[2]: value for key, value in stats.items() if key.startswith(f"{name}.onnx:")}
            if self.plan.smoothing:
                groups, own = smoothing.smooth(opened, quantized, own, within(self.progress, name))
                self.groups += groups
                _bind(self.base, read_manifest(self.base), {f"{name}.onnx"})
            for site in find_sites(opened.model.graph, opened.plans):
                activation_stats, node = own.get(str(site.activation.name)), str(site.node.name)
                if activation_stats is None or not activation_stats.reached:
                    unreached[node] = "no calibration data reached it"
                else:
                    self.ranges[node] = activation_range(activation_stats, self.plan.ranges)
        self.names = _without(self.names, unreached)

    def _range_cache(self, stats: Mapping[str, TensorStats]) -> None:
        """Set the range of keys and values, by heads: the largest magnitude, as nothing of an outlier may be lost."""
        prefix = f"{contract.LLM}.onnx:"
        for value in new_rows(lowering.open_graph(self.base / f"{contract.LLM}.onnx").model.graph):
            self.cache_ranges[str(value.name)] = stats[f"{prefix}{value.name}"].amax

    def _check_range(self) -> None:
        """Keep out of FP16 what it cannot hold."""
        values = half_values(self.base, assign(self.plan, self.names))
        if not any(values.values()):
            return
        if not self.options.checked:
            self.notes.append("whether values fit into FP16 was not checked")
            return
        assert self.data is not None
        self.peaks = measure(
            self.base,
            values,
            self.data.calibration,
            self.options.checked,
            threads=self.options.threads,
            device=self.options.device,
            progress=self.progress,
        )
        forced = self.options.plan is not None
        self.plan = raise_peaks(self.base, self.plan, self.names, self.peaks, forced=forced)

    def _search(self, exam: Exam, folder: Path) -> tuple[SearchResult, Manifest, Score]:
        """Write the first plan that holds the bound as it is written; where that is allowed, the best there was."""
        with WeightFile(self.base) as weights:
            trials = Trials(self.base, self.ranges, weights, self.options.threads, self.cache_ranges)
            rank = None
            if not fits_whole(read_manifest(self.base)):  # a trial of each block alone would take hours
                pictures, threads = exam.first(RANKED), self.options.threads
                rank = Ranking(self.base, self.ranges, weights, pictures, threads, progress=self.progress)
            search = Search(self.names, _trial(exam, trials), self.options.min_iou, self.deadline, rank)
            for outcome in search.results(self.plan):
                if not outcome.passed:
                    self._below(outcome)
                manifest = self._write(outcome.plan, folder)
                with WeightFile(folder) as own:
                    backend = written_backend(folder, own, self.options.threads)
                    score = exam.score(folder, backend, what="gate: the written bundle")
                if not outcome.passed or score.mean_iou >= self.options.min_iou:
                    break
                search.below(outcome, score)
        return outcome, manifest, score

    def _write(self, plan: Plan, folder: Path) -> Manifest:
        """Write a whole bundle, in place of one that may be there."""
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        precisions = resolve(plan, self.names)
        graphs = {name: self._write_graph(name, plan, precisions, folder) for name in contract.GRAPHS}
        return seal(self.request, folder, precision_of(plan), plan.float, graphs, self.progress)

    def _write_graph(self, name: str, plan: Plan, precisions: Mapping[str, NodePrecision], folder: Path) -> GraphSpec:
        opened = lowering.open_graph(self.base / f"{name}.onnx")
        cache = None if plan.kv_cache is None else CacheCodes(plan.kv_cache, self.cache_ranges)
        tell = within(self.progress, name)
        lowering.lower(opened, plan.float, precisions, self.ranges, FP32_TENSORS, tell, cache=cache)
        finish(opened.model, self.request.dialect)
        return write_graph(opened.model, opened.plans, opened.source, name, folder, self.progress, annotated=False)

    def _below(self, outcome: SearchResult) -> None:
        if self.options.allow_degraded:
            self.notes.append("the masks agree less with FP32 than was asked for; shipped because that was allowed")
            return
        raised, score = len({item.pattern for item in outcome.raised}), outcome.score
        known = f" ± {INTERVAL * score.stderr:.4f}" if score.pictures > 1 else " on a single picture"
        raise XSamError(
            f"the masks of {precision_of(self.plan)} agree with FP32 to a mean IoU of {score.mean_iou:.4f}{known}, "
            f"below the bound of {self.options.min_iou}; that is the best of {outcome.trials} trials, with {raised} of "
            f"{outcome.blocks} blocks raised"
            + (" in the time of --gate-minutes" if outcome.out_of_time else "")
            + (f"; {', '.join(outcome.first[:3])} cost most" if outcome.first else "")
            + ". Use a higher precision, more calibration samples, a lower --min-iou or --allow-degraded"
        )


def _trial(exam: Exam, trials: Trials) -> Trial:
    def trial(assignment: Assignment, limit: int | None, what: str) -> Score:
        return exam.score(trials.bundle(assignment), trials.backend(assignment), limit=limit, what=f"gate: {what}")

    return trial


def _changes(asked: Plan, found: Plan) -> Iterator[str]:
    """What is left of a plan's precisions, where the search had to take a whole one away."""
    if asked.quantizes and not found.quantizes:
        yield f"the bound holds in floating point only: nothing is {precision_of(asked)}"
    if asked.float == "fp16" and found.float == "fp32":
        yield "the bound does not hold with FP16: all floating-point values are FP32"
    if asked.kv_cache is not None and found.kv_cache is None:
        yield f"the bound does not hold with keys and values in {asked.kv_cache}: they are stored as floats"


def _without(names: GraphNames, unreached: Mapping[str, str]) -> GraphNames:
    sites = {name: able - _WITH_RANGE if name in unreached else able for name, able in names.sites.items()}
    reasons = dict(names.reasons)
    for name, why in unreached.items():
        reasons |= {(name, kind): why for kind in _WITH_RANGE}
    return GraphNames(names.nodes, sites, reasons)


def _bind(folder: Path, manifest: Manifest, names: Collection[str]) -> Manifest:
    """Write a manifest that binds files that were written after it, or again."""
    files = {name: FileEntry.of(folder / name) for name in sorted(names)}
    manifest = replace(manifest, files={**manifest.files, **files})
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest
