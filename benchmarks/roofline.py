"""``python -m xsam_edge.benchmarks.roofline BUNDLE``: the least time that answers can take on GPUs, by precision.

Computed, not measured: for each run of a graph the greater of operations over the GPU's peak and of bytes over its
bandwidth (the roofline model, Williams et al. 2009), and nothing for what is between products. Of one bundle of FP16
graphs the other precisions are told: which products they quantise is what the plans of their presets say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, prod
from pathlib import Path

import onnx_ir as ir

from xsam_edge.benchmarks.flops import work_of
from xsam_edge.benchmarks.gpu_check.stages import Nominal
from xsam_edge.benchmarks.gpu_peaks import GPU_PEAKS, GpuPeaks
from xsam_edge.benchmarks.watch import DECODE, PREFILL, SUFFIX
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.engines.fit import fit_target
from xsam_edge.export.engines.footprint import config_footprint
from xsam_edge.export.engines.precision_choice import choose_precision
from xsam_edge.export.engines.targets import TARGETS
from xsam_edge.export.graph.work import flops_of_nodes, read_graph
from xsam_edge.export.precision.plan import Precision, Quantized, resolve
from xsam_edge.export.precision.presets import preset
from xsam_edge.export.quantization.sites import find_sites, graph_names
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import FileEntry, Manifest, bundle_path, read_manifest
from xsam_edge.runtime.bundle.work import GraphWork, Polynomial, value_at
from xsam_edge.runtime.cli.common import Parser, command, file_path
from xsam_edge.runtime.errors import BundleError, InputError

PROGRAM = "python -m xsam_edge.benchmarks.roofline"
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8", "fp8", "int4")
#: Answers, and the stages that each takes. The known answer is checked along with the prompt, in one forward.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "first": (contract.IMAGE_ENCODER, PREFILL, contract.MASK_DECODER),
    "next": (SUFFIX, contract.MASK_DECODER),
    "token": (DECODE,),
}
# Bytes of a quantised weight but for scales of a channel, which are a thousandth; those of INT4 are FP16, one for 128.
_CODE_BYTES: Mapping[Quantized, float] = {"int8": 1.0, "fp8": 1.0, "int4": 0.5 + 2 / 128}


@dataclass(frozen=True)
class Run:
    """One run of a graph: operations by the type of their factors ("fp16", "int8", "fp8"), bytes that cross memory."""

    flops: Mapping[str, float]
    bytes: float

    def seconds(self, peaks: GpuPeaks) -> float:
        """The least time; infinite on a GPU without products of a type."""
        rates = {factors: peaks.flops_per_second(factors) for factors in self.flops}
        compute = sum(flops / rates[factors] if rates[factors] else inf for factors, flops in self.flops.items())
        return max(compute, self.bytes / peaks.bytes_per_second)


@dataclass(frozen=True)
class Product:
    """A product of a graph: its operations, what it is quantised to, and the weight's bytes less by that."""

    flops: Polynomial
    quantized: Quantized | None
    saved: float

    @property
    def factors(self) -> str:
        """Their type. INT4 is that of stored weights alone."""
        return "fp16" if self.quantized is None or self.quantized == "int4" else self.quantized


@dataclass(frozen=True)
class GraphProducts:
    """A graph at one precision."""

    work: GraphWork
    products: tuple[Product, ...]

    def run(self, axes: Mapping[str, int]) -> Run:
        """One run; axes that are not named are of size 1."""
        sizes = defaultdict(lambda: 1, axes)
        flops: dict[str, float] = defaultdict(float)
        for product in self.products:
            flops[product.factors] += value_at(product.flops, sizes)
        return Run(dict(flops), self.work.at(sizes).bytes - sum(product.saved for product in self.products))


def read_products(bundle: Path, manifest: Manifest) -> dict[Precision, dict[str, GraphProducts]]:
    """The graphs of a bundle in FP16 at each of ``PRECISIONS``, by name.

    Raises:
        InputError: engines, or a bundle of another precision.
        BundleError: a graph is missing or altered, or cannot be counted.
    """
    if manifest.engine is not None or manifest.precision != "fp16":
        raise InputError(f"{bundle} is not one of graphs in fp16; expected one, of which the others are told")
    paths = {name: bundle_path(bundle, manifest.graphs[name].file) for name in contract.GRAPHS}
    for name, path in paths.items():
        file = manifest.graphs[name].file
        if not path.is_file() or FileEntry.of(path) != manifest.files[file]:
            raise BundleError(f"{path} is missing, or was altered since it was exported; export the bundle again")
    graphs = {name: read_graph(path).graph for name, path in paths.items()}
    sites = {name: find_sites(graph, graph.initializers) for name, graph in graphs.items()}
    sizes = {str(site.node.name): _elements(site.weight) for found in sites.values() for site in found}
    names = graph_names({name: (graph, graph.initializers) for name, graph in graphs.items()})
    flops = {name: flops_of_nodes(path) for name, path in paths.items()}
    works = {name: work_of(bundle, manifest, name) for name in contract.GRAPHS}
    found: dict[Precision, dict[str, GraphProducts]] = {}
    for precision in PRECISIONS:
        said = resolve(preset(precision, names.nodes, dialect=manifest.dialect), names)
        found[precision] = {}
        for name in contract.GRAPHS:
            products = []
            for node, operations in flops[name].items():
                quantized = said[node].quantized if node in said else None
                saved = 0.0 if quantized is None else (2 - _CODE_BYTES[quantized]) * sizes[node]
                products.append(Product(operations, quantized, saved))
            found[precision][name] = GraphProducts(works[name], tuple(products))
    return found


def _elements(weight: ir.Value) -> int:
    assert weight.shape is not None, "a site's weight is stored"
    return prod(int(size) for size in weight.shape.numpy())


def answer_ms(graphs: Mapping[str, GraphProducts], nominal: Nominal, peaks: GpuPeaks) -> dict[str, float]:
    """The least milliseconds of each of ``ANSWERS``; infinite on a GPU that lacks the products."""
    runs = {stage: graphs[graph].run(axes) for stage, (graph, axes) in nominal.axes().items()}
    return {name: 1e3 * sum(runs[stage].seconds(peaks) for stage in stages) for name, stages in ANSWERS.items()}


@dataclass(frozen=True)
class Cell:
    """One precision on one GPU; ``ms`` by the names of ``ANSWERS``, empty where the GPU has no such products."""

    target: str
    board: str
    precision: str
    ms: Mapping[str, float]
    fits: bool
    chosen: bool  # by --precision auto


def cells(bundle: Path) -> Iterator[Cell]:
    """Every target with every precision. Raises what :func:`read_products` does, InputError of an unknown variant."""
    manifest = read_manifest(bundle)
    if manifest.variant not in VARIANTS:
        raise InputError(f"{bundle} has sizes of its own; expected one of the variants {', '.join(VARIANTS)}")
    config = VARIANTS[manifest.variant].config
    products, nominal = read_products(bundle, manifest), Nominal.of(manifest.settings.model)
    for name, peaks in GPU_PEAKS.items():
        target = TARGETS[name]
        chosen = choose_precision(target, config, manifest.variant, 0).precision
        for precision in PRECISIONS:
            ms = answer_ms(products[precision], nominal, peaks)
            known = {} if inf in ms.values() else ms
            fits = fit_target(config_footprint(config, manifest.variant, precision), 0, target).fits
            yield Cell(name, peaks.board, precision, known, fits, precision == chosen)


def markdown(found: Sequence[Cell]) -> str:
    """A row for each GPU: first answer / next prompt / token in milliseconds; what ``auto`` chooses is bold."""
    rows = ["| target | " + " | ".join(f"`{precision}`" for precision in PRECISIONS) + " |"]
    rows.append("|---" * (1 + len(PRECISIONS)) + "|")
    for target in dict.fromkeys(cell.target for cell in found):
        own = [cell for cell in found if cell.target == target]
        rows.append(f"| `{target}`: {own[0].board} | " + " | ".join(map(_told, own)) + " |")
    return "\n".join(rows)


def _told(cell: Cell) -> str:
    if not cell.ms:
        return "no such products"
    text = " / ".join(f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in cell.ms.values())
    text = text if cell.fits else f"({text})"
    return f"**{text}**" if cell.chosen else text


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="graphs in FP16 of a variant")
    options.add_argument("--json", action="store_true", help="print one JSON object in place of a table")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Compute and print; returns the exit code."""
    found = list(cells(options.bundle))
    if options.json:
        peaks = {name: asdict(own) for name, own in GPU_PEAKS.items()}
        print(json.dumps({"computed": True, "answers": ANSWERS, "peaks": peaks, "cells": list(map(asdict, found))}))
        return 0
    print(markdown(found))
    print(
        "\nFirst answer on a new picture / next prompt on it / further token, in milliseconds, computed: the least "
        "time by the roofline.\nBold: what --precision auto chooses. In parentheses: does not fit the target's memory."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
