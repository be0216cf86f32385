"""What was measured of a reduced bundle, as the facts of its report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xsam_edge.calibration.data.samples import Caption, Picture
from xsam_edge.export.bundle import BundleRequest
from xsam_edge.export.gate.measure import Score
from xsam_edge.export.gate.observe import Error, compare, points
from xsam_edge.export.gate.peaks import LARGEST_HALF, MARGIN
from xsam_edge.export.gate.search import SearchResult
from xsam_edge.export.memory import PeakMemory
from xsam_edge.export.precision.blocks import members
from xsam_edge.export.precision.plan import GraphNames, NodePrecision, Plan, Rule, matches
from xsam_edge.export.quantization import lowering
from xsam_edge.export.quantization.smoothing import SmoothingGroup
from xsam_edge.export.report.facts import (
    BlockFacts,
    CalibrationFacts,
    GateFacts,
    HalfRangeFacts,
    RaisedNodes,
    Report,
    SizeFacts,
    SmoothingFacts,
    StageFacts,
    TaskFacts,
    Unquantised,
    WorstCase,
)
from xsam_edge.export.report.pictures import worst_case_picture
from xsam_edge.runtime.bundle.manifest import HalfRange, Manifest
from xsam_edge.runtime.progress import Progress, Step

OBSERVED = 3  # pictures on which the inside of the chain is compared


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything that a quantisation measured, of the ``plan`` that the one ``asked`` for became.

    ``score`` and ``outcome`` are None where masks were not compared.
    """

    request: BundleRequest
    base: Path
    folder: Path
    asked: Plan
    plan: Plan
    precisions: Mapping[str, NodePrecision]
    names: GraphNames
    outcome: SearchResult | None
    score: Score | None
    min_iou: float
    seconds: float
    calibration: CalibrationFacts
    groups: tuple[SmoothingGroup, ...]
    pictures: Sequence[Picture]
    half_range: HalfRange | None
    notes: tuple[str, ...]
    threads: int
    progress: Progress


def gather(measured: Measured, manifest: Manifest, base: Manifest, seconds: float, peak: PeakMemory) -> Report:
    """Compare the inside of both chains, and put all facts together."""
    outcome, score = measured.outcome, measured.score
    stages, blocks, errors = _observe(measured)
    passed = score is not None and score.mean_iou >= measured.min_iou
    plain = lowering.weight_bytes(measured.base)
    return Report(
        precision=manifest.precision,
        float_type=measured.plan.float,
        ranges=measured.plan.ranges,
        variant=manifest.variant,
        source=manifest.source.checkpoint,
        calibration=measured.calibration,
        gate=_gate(measured, score, outcome, passed) if score and outcome else None,
        stages=tuple(
            StageFacts(graph, name, error.sqnr_db, error.cosine)
            for graph, names in stages.items()
            for name in names
            if (error := errors.get((graph, name))) and error.signal > 0
        ),
        blocks=tuple(_blocks(measured, blocks, errors)),
        half_range=_half_range(measured.half_range),
        raised=tuple(RaisedNodes(rule.nodes, rule.precision, rule.why) for rule in _raised(measured)),
        sizes=tuple(
            SizeFacts(name, entry.bytes, plain.get(name, base.files[name].bytes))
            for name, entry in manifest.files.items()
            if name in base.files
        ),
        tasks=tuple(
            TaskFacts(
                task,
                facts["n"],
                facts["masks"],
                *(facts[key] for key in ("mean_iou", "min_iou", "share_95", "equal_text", "equal_tokens")),
            )
            for task, facts in (score.tasks if score else {}).items()
        ),
        worst=tuple(pictures_of(score)) if score else (),
        smoothing=tuple(
            SmoothingFacts(group.predecessor.name, group.smoothing.alpha or 0.0, 10 * math.log10(group.smoothing.gain))
            for group in measured.groups
        ),
        unquantised=tuple(_unquantised(measured)) if measured.plan.quantizes else (),
        notes=measured.notes,
        degraded=score is not None and not passed,
        seconds=seconds,
        peak_memory_bytes=peak.own,
        peak_resident_bytes=peak.resident,
    )


def unmeasured(manifest: Manifest, seconds: float, peak: PeakMemory) -> Report:
    """The report of a bundle whose weights were rounded to FP16, and nothing was measured."""
    return Report(
        precision=manifest.precision,
        float_type="fp16",
        ranges="",
        variant=manifest.variant,
        source=manifest.source.checkpoint,
        calibration=CalibrationFacts("", 0),
        gate=None,
        stages=(),
        blocks=(),
        half_range=_half_range(manifest.half_range),
        raised=(),
        sizes=tuple(
            SizeFacts(name, entry.bytes, 2 * entry.bytes)
            for name, entry in manifest.files.items()
            if name.endswith(".onnx.data")
        ),
        tasks=(),
        worst=(),
        smoothing=(),
        unquantised=(),
        notes=("masks were not compared with FP32", "whether values fit into FP16 was not checked"),
        degraded=False,
        seconds=seconds,
        peak_memory_bytes=peak.own,
        peak_resident_bytes=peak.resident,
    )


def pictures_of(score: Score | None) -> dict[WorstCase, bytes]:
    """The worst cases, each with its picture as JPEG."""
    return {
        WorstCase(item.task, item.picture, item.prompt, item.iou): worst_case_picture(
            item.image, item.reference, item.mask
        )
        for item in (score.worst if score else ())
    }


def _gate(measured: Measured, score: Score, outcome: SearchResult, passed: bool) -> GateFacts:
    return GateFacts(
        min_iou=measured.min_iou,
        mean_iou=score.mean_iou,
        stderr=score.stderr,
        token_agreement=score.token_agreement,
        pictures=score.pictures,
        masks=score.masks,
        trials=outcome.trials,
        seconds=measured.seconds,
        passed=passed,
    )


def _half_range(known: HalfRange | None) -> HalfRangeFacts | None:
    if known is None:
        return None
    return HalfRangeFacts(known.pictures, known.largest, known.value, known.raised, LARGEST_HALF / MARGIN)


def _observe(
    measured: Measured,
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]], dict[tuple[str, str], Error]]:
    stages, blocks = points(measured.base)
    asked = (item for item in measured.pictures if any(not isinstance(ask, Caption) for ask in item.asks))
    pictures = list(itertools.islice((picture for picture in asked if picture.is_readable()), OBSERVED))
    if not pictures:
        return stages, blocks, {}
    measured.progress(Step("report: inside of the chain"))
    return stages, blocks, compare(measured.base, measured.folder, (stages, blocks), pictures, measured.threads)


def _blocks(
    measured: Measured, outputs: Mapping[str, Mapping[str, str]], errors: Mapping[tuple[str, str], Error]
) -> Iterable[BlockFacts]:
    alone = measured.outcome.alone if measured.outcome else {}
    for graph, nodes in lowering.node_names(measured.base).items():
        for block, names in members(nodes).items():
            sites = [name for name in names if name in measured.names.sites]
            if not sites:
                continue
            quantised = [name for name in sites if measured.precisions[name].quantized]
            used = {measured.precisions[name].quantized or measured.precisions[name].float for name in sites}
            error = errors.get((graph, outputs[graph].get(block, "")))
            yield BlockFacts(
                graph,
                block,
                used.pop() if len(used) == 1 else "mixed",
                error.sqnr_db if error else None,
                error.cosine if error else None,
                alone.get(block),
                len(sites),
                len(quantised),
            )


def _raised(measured: Measured) -> tuple[Rule, ...]:
    """What was added to the plan that was asked for."""
    asked, plan = measured.asked, measured.plan
    return tuple(rule for rule in (*plan.islands, *plan.rules) if rule not in (*asked.islands, *asked.rules))


def _unquantised(measured: Measured) -> Iterable[Unquantised]:
    for name in measured.names.sites:
        if measured.precisions[name].quantized:
            continue
        rules = [rule for rule in measured.plan.rules if matches(rule.nodes, name)]
        wanted = rules[-1].precision if rules else "int8"
        floating = wanted in ("fp32", "fp16")
        why = rules[-1].why if floating else measured.names.reasons.get((name, wanted), "")
        yield Unquantised(name, why.removeprefix(f"{name}: ") or "no rule of the plan quantises it")
