"""What ``xsam-export`` does with ``--from``, ``--engine`` and ``--plan``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.hub import resolve
from xsam_edge.export.config.naming import main_name
from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.engines import convert, flavours
from xsam_edge.export.engines.build import BuiltEngine
from xsam_edge.export.engines.convert import EngineRequest
from xsam_edge.export.engines.footprint import config_footprint, options_that_fit
from xsam_edge.export.engines.targets import Target, get_target
from xsam_edge.export.infer.config import config_from_checkpoint
from xsam_edge.export.infer.variant import guess_variant
from xsam_edge.export.staging import check_output
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.device.memory_plan import Footprint, MemoryPlan, footprint, plan, summary, table
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress

_SHOWN = 5

# Writes a bundle of ONNX graphs of a precision into a folder that does not exist.
Export = Callable[[Path, Any, Progress], object]


def wanted(options: argparse.Namespace) -> bool:
    """Whether a command line is about engines or plans."""
    return bool(options.bundle or options.engine or options.plan)


def run(options: argparse.Namespace, overrides: Mapping[str, Any], export: Export) -> int:
    """Plan, compile a bundle, or export a checkpoint and compile that; returns the exit code."""
    if options.bundle is not None:
        excluded = [
            name
            for name in ("inits", "config", "precision", "precision_plan", "encoder_precision")
            if getattr(options, name, None) is not None
        ]
        if excluded:
            option = excluded[0].replace("_", "-")
            raise InputError(f"--{option} is of an export; with --from the bundle has decided it")
        if not options.plan and options.engine is None:
            raise InputError(f"--from compiles a bundle; add --engine, one of {', '.join(flavours.FLAVOURS)}")
    if options.plan:
        return _plan(options, overrides)
    start = time.perf_counter()
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        check_output(options.output, options.overwrite)
        request = EngineRequest(
            options.engine, options.target, options.context, options.memory, options.optimization_level
        )
        builder = convert.find_builder(request)
        if options.bundle is not None:
            manifest, built = _compile(options.bundle, options, request, progress)
        else:
            precision = options.precision or builder.target.precision
            # Before hours of export, and again of the bundle, whose sizes are exact.
            convert.fit(_facts(options, overrides, precision, progress), options.context, builder.target)
            options.output.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{options.output.name}.", dir=options.output.parent) as folder:
                export(Path(folder) / "onnx", precision, progress)
                manifest, built = _compile(Path(folder) / "onnx", options, request, progress)
    _print(options, manifest, built, time.perf_counter() - start)
    return 0


def _compile(
    bundle: Path, options: argparse.Namespace, request: EngineRequest, progress: ProgressPrinter
) -> tuple[Manifest, tuple[BuiltEngine, ...]]:
    def show(memory: MemoryPlan, target: Target) -> None:
        progress.clear()
        print(table(memory, target.memory, target.name), file=sys.stderr)

    return convert.convert(bundle, options.output, request, overwrite=options.overwrite, progress=progress, show=show)


def _plan(options: argparse.Namespace, overrides: Mapping[str, Any]) -> int:
    device = convert.present_device()
    target = get_target(options.target, device, options.memory)
    if options.engine is not None:
        flavours.compute_capabilities(options.engine, target, device)
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        facts = _facts(options, overrides, options.precision or target.precision, progress)
    context = convert.context_for(options.context, target, facts.context_limit, facts.image_tokens)
    memory = plan(facts, context)
    if options.json:
        print(json.dumps(_plan_result(facts, memory, target)))
    else:
        print(f"{facts.variant}, {facts.precision}")
        print(table(memory, target.memory, target.name))
    convert.fit(facts, context, target)
    return 0


def _plan_result(facts: Footprint, memory: MemoryPlan, target: Target) -> dict[str, Any]:
    result = {"variant": facts.variant, "precision": facts.precision, "target": target.name, **summary(memory)}
    if target.memory is None:
        return result
    fits = memory.needed(target.memory.shared) <= target.memory.available
    advice = [] if fits else list(options_that_fit(facts, memory.context, target.memory))
    return result | {"available_bytes": target.memory.available, "fits": fits, "would_fit": advice}


def _facts(options: argparse.Namespace, overrides: Mapping[str, Any], precision: str, progress: Progress) -> Footprint:
    """The sizes of what a command line names: a bundle's files, or a model that is yet to be exported."""
    if options.bundle is not None:
        return footprint(read_manifest(options.bundle))
    if options.random_weights:
        variant = get_variant(options.variant)
        return config_footprint(random_config(variant, overrides), variant.name, precision)
    opened = open_checkpoint(resolve(options.checkpoint, progress=progress))
    inits = options.inits or opened.inits
    variant = guess_variant(opened.shapes, inits) if options.variant == "auto" else get_variant(options.variant)
    config = config_from_checkpoint(opened.renamed(main_name).shapes, variant, inits, overrides)
    return config_footprint(config, variant.name, precision)


def _print(
    options: argparse.Namespace,
    manifest: Manifest,
    built: tuple[BuiltEngine, ...],
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
            "source": manifest.source.checkpoint,
            "engine": engine.flavour,
            "version": engine.version,
            "target": engine.target,
            "compute_capabilities": engine.compute_capabilities,
            "context": engine.context,
            "kv_cache": engine.kv_cache.flavour,
            "memory": engine.memory,
            "bytes": sizes,
            "warnings": warnings,
            "notes": notes,
            "seconds": round(seconds, 3),
            "peak_memory_bytes": max(item.peak_memory_bytes for item in built),
        }
        print(json.dumps(result))
        return
    print(f"{options.output}: {manifest.variant}, {manifest.precision}, engines of {engine.flavour} {engine.version}")
    print(f"  for {engine.target}, compute capability {', '.join(engine.compute_capabilities)}")
    print(f"  context of {engine.context} tokens; cache {engine.kv_cache.flavour}: {engine.kv_cache.reason}")
    for name, size in sizes.items():
        print(f"  {name:<28} {size / 1e6:>10.1f} MB")
    for graph, counts in warnings.items():
        for text, times in sorted(counts.items(), key=lambda item: -item[1])[:_SHOWN]:
            print(f"  warning of {graph}" + (f" ({times} times)" if times > 1 else "") + f": {text[:200]}")
        if len(counts) > _SHOWN:
            print(f"  and {len(counts) - _SHOWN} other warnings of {graph}; --json prints them all")
    for note in notes:
        print(f"  note: {note}")
    peak = max(item.peak_memory_bytes for item in built)
    print(f"took {seconds:.0f} s, {peak / 1e6:.0f} MB of memory at the compiler's peak")
