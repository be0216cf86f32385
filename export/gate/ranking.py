"""Which quantised blocks to raise first, from one run of the chain: those whose products add most noise.

Every product is computed twice from what FP32 gives, quantised and not; the chain goes on with FP32. So a block shows
its own noise alone. Where its output is added to a sum, such as the one that layers add to, it counts as a share of the
sum. That is an estimate: only trials tell what a block costs in masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.data.samples import Picture
from xsam_edge.calibration.staged.run import StagedRun
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.export.gate.observe import Error, add_observers, ask_appended, observed_name, points
from xsam_edge.export.gate.trial import EngineBackend
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.precision.blocks import block_of
from xsam_edge.export.precision.plan import Assignment, NodePrecision
from xsam_edge.export.quantization.lowering import OpenGraph, fill_weights, lower, open_graph
from xsam_edge.export.quantization.sites import find_sites
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, within

_QUANTISED = "\tquantised"


def pair_products(opened: OpenGraph, precisions: Mapping[str, NodePrecision], ranges: Mapping[str, float]) -> ir.Model:
    """Compute every quantised product of an FP32 graph in FP32 too, which what follows reads; nothing else is lowered.

    The quantised one's value has the name of the other with ``_QUANTISED`` behind.
    """
    graph = opened.model.graph
    chosen = {
        str(site.node.name): tuple(site.node.inputs)
        for site in find_sites(graph, opened.plans)
        if precisions[str(site.node.name)].quantized
    }
    alone = {str(node.name): NodePrecision("fp32") for node in graph}
    alone |= {name: NodePrecision("fp32", precisions[name].quantized) for name in chosen}
    lower(opened, "fp32", alone, ranges, FP32_TENSORS)
    fill_weights(opened)
    for node in [node for node in graph if str(node.name) in chosen]:
        inputs = chosen[str(node.name)]
        for value in inputs:
            if value is not None and value.name in opened.source.tensors:  # lowering has removed it
                value.const_value = opened.source.tensors[value.name]
                graph.initializers[value.name] = value
        plain = ir.node(node.op_type, inputs, attributes=node.attributes, name=f"{node.name}\tplain")
        graph.insert_after(node, plain)
        old, new = node.outputs[0], plain.outputs[0]
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        old.name, new.name = f"{old.name}{_QUANTISED}", old.name
    return opened.model


def added_noise(
    sites: Mapping[str, Collection[Error]], signals: Mapping[str, float], sums: Mapping[str, Collection[str]]
) -> dict[str, float]:
    """The noise that each block adds, as a share of the signal of what it is added to.

    Args:
        sites: errors of the quantised products of each block, whose shares add up.
        signals: energy of each block's output, of those that were seen.
        sums: the blocks that add a block's output to something.
    """
    noise: dict[str, float] = {}
    for block, errors in sites.items():
        own = sum(error.noise / error.signal for error in errors if error.signal > 0)
        signal = signals.get(block, 0.0)
        total = max([signal, *(signals.get(reader, 0.0) for reader in sums.get(block, ()))])
        noise[block] = own * (signal / total if total > 0 else 1.0)
    return noise


def adding_blocks(graph: ir.Graph) -> dict[str, set[str]]:
    """The blocks that add a block's output to something, of all blocks for which there are any."""
    sums: dict[str, set[str]] = defaultdict(set)
    for node in graph:
        for value in node.inputs if node.op_type == "Add" else ():
            producer = value.producer() if value is not None else None
            if producer is not None and block_of(str(producer.name)) != block_of(str(node.name)):
                sums[block_of(str(producer.name))].add(block_of(str(node.name)))
    return dict(sums)


class Ranking:
    """Ranks the blocks of assignments on some pictures.

    Args:
        base: the FP32 bundle.
        ranges: as for ``lowering.lower``.
        weights: a file of its folder.
        pictures: can be read.
        threads: 0 takes every core.
        progress: told of each stage.
    """

    def __init__(
        self,
        base: Path,
        ranges: Mapping[str, float],
        weights: WeightFile,
        pictures: Sequence[Picture],
        threads: int = 0,
        *,
        progress: Progress,
    ) -> None:
        self._base, self._ranges, self._weights, self._pictures = base, ranges, weights, pictures
        self._threads, self._progress = threads, within(progress, "gate: noise of each block")
        self._outputs = points(base)[1]
        self._sums = {name: adding_blocks(load_graph(base / f"{name}.onnx").graph) for name in self._outputs}

    def __call__(self, assignment: Assignment) -> Mapping[str, float]:
        """The noise that each block adds: see :func:`added_noise`.

        Raises:
            BackendError, BundleError: a graph cannot be loaded, or fails.
            XSamError: the disk is full.
        """
        sites: dict[str, dict[str, str]] = defaultdict(dict)  # graph -> product's value -> its block
        errors: dict[tuple[str, str], Error] = defaultdict(Error)
        signals: dict[tuple[str, str], float] = defaultdict(float)

        def read(path: Path) -> ir.Model:
            model = pair_products(open_graph(path), assignment.nodes, self._ranges)
            pairs = [value for node in model.graph for value in node.outputs if str(value.name).endswith(_QUANTISED)]
            for value in pairs:
                producer = value.producer()
                assert producer is not None
                sites[path.stem][str(value.name).removesuffix(_QUANTISED)] = block_of(str(producer.name))
            names = [name for value in sites[path.stem] for name in (value, f"{value}{_QUANTISED}")]
            add_observers(model, [*names, *self._outputs[path.stem].values()])
            return model

        def listen(file: str, found: Mapping[str, npt.NDArray[Any]]) -> None:
            graph = Path(file).stem
            for value in sites[graph]:
                if (name := observed_name(value)) in found:  # a part of a graph has those of its own
                    errors[graph, value].add(found[name], found[observed_name(f"{value}{_QUANTISED}")])
            for block, value in self._outputs[graph].items():
                if (array := found.get(observed_name(value))) is not None:
                    signals[graph, block] += float(np.square(array.astype(np.float64)).sum())

        backend = EngineBackend(read, self._weights, self._threads, quantized=True, listen=listen)
        StagedRun(self._base, backend, self._pictures, _ask, self._base / "stages", progress=self._progress).run_all()
        noise: dict[str, float] = {}
        for graph, blocks in sites.items():
            by_block: dict[str, list[Error]] = defaultdict(list)
            for value, block in blocks.items():
                by_block[block].append(errors[graph, value])
            own = {block: signal for (name, block), signal in signals.items() if name == graph}
            noise |= added_noise(by_block, own, self._sums[graph])
        return noise


def _ask(model: XSam, picture: Picture, _last: bool) -> None:
    with model.look(picture.image()) as scene:
        ask_appended(scene, picture)
