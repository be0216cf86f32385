"""``python -m xsam_edge.benchmarks.quantized LOWER FP32``: the two costly stages of two bundles, side by side.

Graphs run alone, on random inputs of real sizes: the image encoder, and the prefill of an image and a prompt. Sides
take turns in one process, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from xsam_edge.benchmarks.fusion import integer_products
from xsam_edge.runtime.backends.base import output_shapes
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import memory_type
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.doctor.machine import processor
from xsam_edge.runtime.progress import Progress, Step

_PROMPT = 96  # tokens of text around an image


def stage(bundle: Path, manifest: Manifest, graph: str, threads: int) -> Callable[[], None]:
    """A run of a graph on random inputs; of the language model a prefill without a past."""
    spec, backend = manifest.graphs[graph], OnnxRuntimeBackend("cpu", threads)
    opened = backend.open(bundle / spec.file, spec)
    tokens = manifest.settings.model.image_tokens + _PROMPT
    sizes = {contract.BATCH: 1, contract.SEQUENCE: tokens, contract.PAST: 0, contract.ROWS: 1}
    rng = np.random.default_rng(0)
    known = {
        contract.POSITION_IDS: np.arange(tokens, dtype=np.int64)[None],
        contract.LOGITS_POSITIONS: np.array([tokens - 1], np.int64),
    }
    inputs = {}
    for tensor in spec.inputs:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
        values = known.get(tensor.name)
        inputs[tensor.name] = backend.upload(
            rng.standard_normal(shape).astype(memory_type(tensor.dtype)) if values is None else values
        )
    shapes = output_shapes(spec, {name: buffer.shape for name, buffer in inputs.items()})
    outputs = {name: backend.allocate(shape, memory_type(spec.output(name).dtype)) for name, shape in shapes.items()}
    return lambda: opened.run(inputs, outputs)


def alternate(
    sides: Mapping[Path, Callable[[], None]], repeat: int, name: str, progress: Progress
) -> dict[Path, list[float]]:
    """Milliseconds of ``repeat`` runs of each side, which take turns; one run of each before them is not counted."""
    times: dict[Path, list[float]] = {path: [] for path in sides}
    for number in range(repeat + 1):
        progress(Step(name, number, repeat + 1, "rounds"))
        for path, run in sides.items():
            start = time.perf_counter()
            run()
            if number:
                times[path].append(1e3 * (time.perf_counter() - start))
    return times


def row(name: str, full: Sequence[float], lower: Sequence[float]) -> str:
    """A stage's line of the table: medians, their ratio, and that of the fastest runs."""
    medians = statistics.median(full), statistics.median(lower)
    ratios = f"{medians[0] / medians[1]:.2f} | {min(full) / min(lower):.2f}"
    return f"| {name} | {medians[0]:.0f} | {medians[1]:.0f} | {ratios} |"


def main() -> None:
    """Entry point; prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lower", type=Path, help="bundle of a lower precision")
    parser.add_argument("full", type=Path, help="bundle of the same model in FP32")
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds, after one that is not")
    parser.add_argument("--threads", type=int, default=0, help="of ONNX Runtime (default: every core)")
    options = parser.parse_args()
    manifests = {path: read_manifest(path) for path in (options.full, options.lower)}
    tokens = manifests[options.full].settings.model.image_tokens + _PROMPT
    print(f"| stage | fp32, ms | {manifests[options.lower].precision}, ms | ratio | fastest of each |")
    print("|---|---|---|---|---|")
    names = {contract.IMAGE_ENCODER: "image encoder", contract.LLM: f"prefill of {tokens} tokens"}
    with ProgressPrinter(sys.stderr) as progress:
        for graph, name in names.items():
            progress(Step(f"load the {name}"))
            sides = {path: stage(path, manifest, graph, options.threads) for path, manifest in manifests.items()}
            times = alternate(sides, options.repeat, name, progress)
            progress.clear()
            print(row(name, times[options.full], times[options.lower]), flush=True)
    print()
    for graph, counts in integer_products(options.lower, manifests[options.lower]).items():
        print(f"- products of {graph}: " + ", ".join(f"{number} {op}" for op, number in counts.items()))
    cpu = processor(Host()).values()
    print(f"- {cpu['CPU']}, {cpu['usable cores']} cores, onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
