"""What ``xsam-export`` does with ``--from``, ``--engine`` and ``--plan``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.engines import flavours
from xsam_edge.export.engines.build import BuiltEngine
from xsam_edge.export.engines.builder import find_builder, find_destination
from xsam_edge.export.engines.convert import convert, read_graphs
from xsam_edge.export.engines.fit import Fit, check_fits, fit_target
from xsam_edge.export.engines.footprint import config_footprint
from xsam_edge.export.engines.parity import Parity, parity_check
from xsam_edge.export.engines.precision_choice import PrecisionChoice, choose_precision
from xsam_edge.export.engines.targets import Target
from xsam_edge.export.infer.model import open_model
from xsam_edge.export.precision.plan import CachePrecision, read_plan
from xsam_edge.export.quantize_options import AUTO
from xsam_edge.export.quantize_plan import precision_of
from xsam_edge.export.staging import beside, check_output
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.device.memory_plan import Footprint, footprint, summary, table
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress

_SHOWN = 5

# Writes a bundle of ONNX graphs of a precision into a folder that does not exist.
Export = Callable[[Path, PrecisionChoice, Progress], object]


def wanted(options: argparse.Namespace) -> bool:
    """Whether a command line is about engines or plans."""
    return bool(options.bundle or options.engine or options.plan)


def run(options: argparse.Namespace, overrides: Mapping[str, Any], export: Export) -> int:
    """Plan, compile a bundle, or export a checkpoint and compile that; returns the exit code."""
    start = time.perf_counter()
    if options.bundle is not None:
        _check_bundle_options(options)
    if not options.plan:
        check_output(options.output, options.overwrite)
    destination = find_destination(options.engine, options.target, options.memory, planned=options.plan)
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        model = None if options.bundle is not None else _model(options, overrides, destination.target, progress)
    destination = destination.having(_codes(options, model))
    if options.plan:
        return _plan(options, model, destination.target)
    builder = find_builder(options.engine, destination, options.optimization_level)
    with (
        ProgressPrinter(sys.stderr, plain=not options.json) as progress,
        _graphs(options, model, destination.target, export, progress) as bundle,
    ):
        graphs = read_graphs(bundle, options.output)
        fit = fit_target(footprint(graphs), options.context or 0, destination.target)
        check_fits(fit)
        progress.clear()
        print(table(fit.memory, fit.target.memory, fit.target.name), file=sys.stderr)
        parity = Parity("parity with the graphs was not checked")

        def check(engines: Path) -> None:
            nonlocal parity
            if not options.no_parity:
                where = destination.device, destination.compute_capabilities
                parity = parity_check(engines, bundle, graphs, *where, progress)

        manifest, built = convert(
            bundle,
            graphs,
            options.output,
            builder,
            fit.memory,
            overwrite=options.overwrite,
            check=check,
            progress=progress,
        )
    _print(options, manifest, built, parity, time.perf_counter() - start)
    return 0


def _check_bundle_options(options: argparse.Namespace) -> None:
    if not options.plan and options.engine is None:
        raise InputError(f"--from was given alone; add --engine, one of {', '.join(flavours.FLAVOURS)}, or --triton")


def choice(options: argparse.Namespace, overrides: Mapping[str, Any], progress: Progress) -> PrecisionChoice:
    """The precision of graphs that are to become engines of ``--target`` some day.

    Raises:
        InputError: an unknown target, or encoders of a precision that it does not have.
    """
    destination = find_destination(None, options.target, options.memory)
    model = _model(options, overrides, destination.target, progress)
    destination.having(model.codes)
    return model.choice


@dataclass(frozen=True)
class _Model:
    """What is to be exported, its precision, and what its products and its cache are quantised to."""

    config: ModelConfig
    variant: str
    choice: PrecisionChoice
    codes: frozenset[str]
    kv_cache: CachePrecision | None = None

    @property
    def footprint(self) -> Footprint:
        return config_footprint(self.config, self.variant, self.choice.precision, codes=self.kv_cache is not None)


def _model(options: argparse.Namespace, overrides: Mapping[str, Any], target: Target, progress: Progress) -> _Model:
    if options.random_weights:
        variant = get_variant(options.variant)
        config = random_config(variant, overrides)
    else:
        model = open_model(options.checkpoint, options.inits, options.variant, overrides, progress)
        variant, config = model.variant, model.config
    kv_cache = options.kv_cache_precision
    if options.precision_plan is not None:  # which says all, and was chosen by its user
        plan = read_plan(options.precision_plan)
        chosen, kv_cache = PrecisionChoice(precision_of(plan)), kv_cache or plan.kv_cache
        codes = {rule.precision for rule in plan.rules}
    else:
        if options.precision in (None, AUTO):
            chosen = choose_precision(target, config, variant.name, options.context or 0, codes=kv_cache is not None)
        else:
            chosen = PrecisionChoice(options.precision)
        codes = {chosen.precision, options.encoder_precision}
    return _Model(config, variant.name, chosen, frozenset({*codes, kv_cache} - {None}), kv_cache)


def _codes(options: argparse.Namespace, model: _Model | None) -> Collection[str]:
    """What products are quantised to, in a bundle or in what is to be exported."""
    if model is None:
        return {code for graph in read_manifest(options.bundle).graphs.values() for code in graph.codes}
    return model.codes


@contextlib.contextmanager
def _graphs(
    options: argparse.Namespace, model: _Model | None, target: Target, export: Export, progress: Progress
) -> Iterator[Path]:
    """The bundle of ONNX graphs to compile: one that is there, or an export that is deleted afterwards."""
    if model is None:
        yield options.bundle
        return
    # Before hours of export, and again of the bundle, whose sizes are exact.
    check_fits(fit_target(model.footprint, options.context or 0, target))
    with beside(options.output, ".graphs", progress) as folder:
        export(folder / "onnx", model.choice, progress)
        yield folder / "onnx"


def _plan(options: argparse.Namespace, model: _Model | None, target: Target) -> int:
    facts = footprint(read_manifest(options.bundle)) if model is None else model.footprint
    why = "" if model is None else model.choice.why
    fit = fit_target(facts, options.context or 0, target)
    if options.json:
        print(json.dumps({**_plan_result(fit), "precision_why": why}))
    else:
        print(f"{fit.facts.variant}, {fit.facts.precision}")
        if why:
            print(f"chosen: {why}")
        print(table(fit.memory, target.memory, target.name))
    check_fits(fit)
    return 0


def _plan_result(fit: Fit) -> dict[str, Any]:
    facts, target = fit.facts, fit.target
    result = {"variant": facts.variant, "precision": facts.precision, "target": target.name, **summary(fit.memory)}
    if target.memory is None:
        return result
    return result | {"available_bytes": target.memory.available, "fits": fit.fits, "would_fit": list(fit.would_fit)}


def _print(
    options: argparse.Namespace,
    manifest: Manifest,
    built: tuple[BuiltEngine, ...],
    parity: Parity,
    seconds: float,
) -> None:
    engine = manifest.engine
    assert engine is not None
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    warnings = {item.graph: dict(item.warnings) for item in built if item.warnings}
    notes = list(flavours.notes(engine.flavour, manifest.precision))
    if options.json:
        result = {
            "bundle": str(options.output),
            "variant": manifest.variant,
            "precision": manifest.precision,
            "precision_why": manifest.precision_why,
            "source": manifest.source.checkpoint,
            "engine": engine.flavour,
            "version": engine.version,
            "target": engine.target,
            "compute_capabilities": engine.compute_capabilities,
            "context": engine.context,
            "kv_cache": engine.kv_cache.flavour,
            "memory": engine.memory,
            "bytes": sizes,
            "engines": {name: asdict(figures) for name, figures in engine.figures.items()},
            "warnings": warnings,
            "notes": notes,
            "parity": _parity_result(parity),
            "seconds": round(seconds, 3),
            "peak_memory_bytes": max(item.peak_memory_bytes for item in built),
        }
        print(json.dumps(result))
        return
    print(f"{options.output}: {manifest.variant}, {manifest.precision}, engines of {engine.flavour} {engine.version}")
    if manifest.precision_why:
        print(f"  chosen: {manifest.precision_why}")
    print(f"  for {engine.target}, compute capability {', '.join(engine.compute_capabilities)}")
    print(f"  context of {engine.context} tokens; cache {engine.kv_cache.flavour}: {engine.kv_cache.reason}")
    for name, size in sizes.items():
        print(f"  {name:<28} {size / 1e6:>10.1f} MB")
    for name, figures in engine.figures.items():
        for profile, told in figures.profiles.items():
            print(f"  {f'activations of {name}, {profile}':<28} {told.scratch_bytes / 1e6:>10.1f} MB")
    for graph, counts in warnings.items():
        for text, times in sorted(counts.items(), key=lambda item: -item[1])[:_SHOWN]:
            print(f"  warning of {graph}" + (f" ({times} times)" if times > 1 else "") + f": {text[:200]}")
        if len(counts) > _SHOWN:
            print(f"  and {len(counts) - _SHOWN} other warnings of {graph}; --json prints them all")
    for note in (*notes, parity.note):
        print(f"  note: {note}")
    peak = max(item.peak_memory_bytes for item in built)
    print(f"took {seconds:.0f} s, {peak / 1e6:.0f} MB of memory at the compiler's peak")


def _parity_result(parity: Parity) -> dict[str, Any]:
    score = parity.score
    if score is None:
        return {"checked": False, "note": parity.note}
    return {
        "checked": True,
        "note": parity.note,
        "mean_iou": score.mean_iou,
        "token_agreement": score.token_agreement,
        "masks": score.masks,
        "pictures": score.pictures,
    }
