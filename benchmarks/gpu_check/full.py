"""The full-size model end to end on ONNX Runtime, its skeleton filled here: answers, stages, memory, placement."""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xsam_edge.benchmarks import inputs, measure
from xsam_edge.benchmarks.chain import RuntimeSide, open_bundle
from xsam_edge.benchmarks.gpu_check import providers, roof
from xsam_edge.benchmarks.gpu_check.memory import used_bytes
from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.skeleton import fill, filled_bytes, is_skeleton
from xsam_edge.benchmarks.gpu_check.stages import (
    COSTS_FILE,
    FIRST,
    GPU_MEMORY,
    NEXT,
    STEP,
    Costs,
    Nominal,
    read_costs,
    report_answers,
    stage,
)
from xsam_edge.benchmarks.gpu_check.steps import SKELETONS, Setting
from xsam_edge.benchmarks.measure import Sample
from xsam_edge.benchmarks.watch import STAGES
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.manifest import bundle_path, read_manifest
from xsam_edge.runtime.cli.common import describe_error
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam

_MEMORY = Path("/dev/shm")
_CONTEXT = 2560  # tokens of the cache: a prompt, and the steps that are timed
_ROUNDS, _SMALL_ROUNDS = (12, 4), (2, 1)  # that count, and those before them
_STEPS, _SMALL_STEPS = 32, 4  # of decoding


def run_cuda(setting: Setting, say: Recorder) -> None:
    """The step of the dialect cuda."""
    _run("cuda", setting, say)


def run_gpu(setting: Setting, say: Recorder) -> None:
    """The step of the dialect gpu."""
    _run("gpu", setting, say)


def _run(dialect: Dialect, setting: Setting, say: Recorder) -> None:
    skeleton = find_skeleton(setting.payload / SKELETONS, dialect)
    providers.preload(setting.device)
    with _filled(skeleton, say) as bundle:
        side = _load(bundle, setting, say)
        _answers(side, setting, say, read_costs(skeleton / COSTS_FILE))
        _decode(side.xsam, _SMALL_STEPS if setting.small else _STEPS, say)
        if setting.device != "cpu":
            say(GPU_MEMORY, used_bytes() / 1e9, "GB", "all of the card's, with caches and activations")
        del side
        gc.collect()
        _placed(bundle, setting, say)


def find_skeleton(folder: Path, dialect: Dialect) -> Path:
    """The skeleton of a dialect.

    Raises:
        InputError: there is none.
    """
    for path in sorted(folder.glob("*")):
        if is_skeleton(path) and read_manifest(path).dialect == dialect:
            return path
    raise InputError(f"{folder} has no skeleton of the dialect {dialect}; make the payload with `gpu_check pack`")


@contextmanager
def _filled(skeleton: Path, say: Recorder) -> Iterator[Path]:
    """A bundle of the skeleton, in memory where there is enough of it."""
    size = filled_bytes(skeleton)
    with tempfile.TemporaryDirectory(dir=_roomy(size)) as folder:
        start, bundle = time.perf_counter(), Path(folder) / skeleton.name
        fill(skeleton, bundle)
        say("weights were made in", time.perf_counter() - start, "s", f"{size / 1e9:.3g} GB, {folder}")
        yield bundle


def _roomy(needed: int) -> Path | None:
    """The file system in memory, where it has room for a bundle and the host for what loading takes."""
    try:
        free = shutil.disk_usage(_MEMORY).free
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    return _MEMORY if free > 1.1 * needed and available > 3 * needed else None


def _load(bundle: Path, setting: Setting, say: Recorder) -> RuntimeSide:
    manifest, start = read_manifest(bundle), time.perf_counter()
    with ProgressPrinter(sys.stderr) as progress:
        side = open_bundle(
            bundle,
            progress,
            answering="append",
            device=setting.device,
            threads=1 if setting.small else 0,
            context=min(_CONTEXT, manifest.settings.model.context_length),
            verify="none",  # the manifest has the hashes of other weights
        )
    say("loading takes", time.perf_counter() - start, "s", f"{manifest.variant}, {manifest.precision}")
    return side


def _answers(side: RuntimeSide, setting: Setting, say: Recorder, costs: Costs) -> None:
    repeat, warmup = _SMALL_ROUNDS if setting.small else _ROUNDS
    picture, pictures = inputs.pictures()
    (rounds,), (warming,) = measure.alternate([side], picture, inputs.PHRASES, repeat=repeat, warmup=warmup)
    firsts, nexts = [item.first for item in rounds], [item.next for item in rounds]
    for name, samples in ((FIRST, firsts), (NEXT, nexts)):
        report_answers(name, samples, pictures, say)
        outside = statistics.median(sample.total_ms - sample.graphs_ms for sample in samples)
        say(f"{name}, outside of graphs", outside, "ms", "pictures, tokens, masks, and Python around them")
    say("pictures to pixels", statistics.median(sample.preprocess_ms for sample in firsts), "ms")
    say("warming up takes", warming, "s", f"{warmup} rounds")
    _stages([*firsts, *nexts], setting, say, costs)


def _stages(samples: Sequence[Sample], setting: Setting, say: Recorder, costs: Costs) -> None:
    peaks = roof.measured(setting)
    calls = [call for sample in samples for call in sample.calls]
    for name in STAGES:
        runs = [call for call in calls if call.stage == name]
        if not runs:
            continue
        time_ms = statistics.median(call.ms for call in runs)
        notes = [", ".join(f"{axis} {size}" for axis, size in runs[-1].axes.items())]
        if name in costs:
            least, bound = peaks.limit_ms(costs[name].flops, costs[name].bytes)
            notes.append(f"{least / time_ms:.0%} of the roof, {least:.3g} ms by {bound}")
        say(stage(name), time_ms, "ms", "; ".join(filter(None, notes)))


def _decode(xsam: XSam, steps: int, say: Recorder) -> None:
    """Steps of one token behind what the cache holds, each with what the host does for it."""
    embeds = np.zeros((1, 1, xsam.manifest.settings.model.hidden_size), np.float32)
    times, first = [], np.zeros(1, np.int64)
    with xsam.pipeline.turn():
        start = xsam.pipeline.cache.length
        for _ in range(2 + steps):
            began = time.perf_counter()
            xsam.pipeline.forward(embeds, first)
            times.append(1e3 * (time.perf_counter() - began))
    say(STEP, statistics.median(times[2:]), "ms", f"behind {start} tokens and more, {steps} times")


def _placed(bundle: Path, setting: Setting, say: Recorder) -> None:
    manifest = read_manifest(bundle)
    axes = dict(Nominal.of(manifest.settings.model).axes().values())  # of the language model, those of a step
    for graph in (contract.MASK_DECODER, contract.IMAGE_ENCODER, contract.LLM):
        spec = manifest.graphs[graph]
        try:
            found = providers.profile(bundle_path(bundle, spec.file), spec, axes[graph], setting.device)
        except Exception as error:  # what was measured before stands
            say(f"nodes of {graph}", "not profiled", note=describe_error(error)[:200])
            continue
        on_cpu = "" if setting.device == "cpu" else f"on the CPU {providers.counted(found.on_cpu)}"
        say(f"nodes of {graph}", providers.counted(found.nodes), note=on_cpu)
        say(f"copies between CPU and GPU in {graph}", found.copies, "nodes")
        slowest = ", ".join(f"{operator} {spent / 1e3:.3g}" for operator, spent in found.slowest)
        say(f"slowest of {graph}", slowest, note="ms of all nodes of an operator, as the host sees them")
        gc.collect()
