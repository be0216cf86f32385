"""SmoothQuant on an FP32 graph: divisions folded into the weights before a product, multiplications into its own.

What makes an activation is divided per channel, the weights that read it are multiplied along their inputs; the
product is the same in exact arithmetic. Weights stay in the data file as they are, with their factors in the graph's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from xsam_edge.calibration.statistics.smoothing import Smoothing, search
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.calibration.stored_weights import Factor
from xsam_edge.export.graph.weights import blocks
from xsam_edge.export.quantization.lowering import FileWeights, OpenGraph, save_weights
from xsam_edge.export.quantization.sites import Site, find_sites
from xsam_edge.export.quantization.smoothable import Predecessor, predecessor_of, readers
from xsam_edge.runtime.progress import Progress, Step, silent

MIN_GAIN = 1.2  # below, the expected error is not worth another change to the weights


@dataclass(frozen=True, eq=False)
class Factors:
    """What a stored weight is multiplied by along one axis, from ``start`` on."""

    weight: str
    axis: int
    values: np.ndarray
    start: int = 0

    def of(self, shape: tuple[int, ...]) -> Factor:
        """The factor of a weight of a shape."""
        whole = np.ones(shape[self.axis], np.float32)
        whole[self.start : self.start + len(self.values)] = self.values
        return Factor(whole.reshape([-1 if axis == self.axis else 1 for axis in range(len(shape))]))


@dataclass(frozen=True, eq=False)
class SmoothingGroup:
    """Sites that read the output of one predecessor, and the smoothing that was found for them."""

    predecessor: Predecessor
    sites: tuple[Site, ...]
    smoothing: Smoothing

    def factors(self) -> list[Factors]:
        """What the group changes."""
        divisors, weights = self.smoothing.divisors, self.predecessor.divided
        divided = [Factors(str(item.weight.name), item.axis, 1 / divisors, item.start) for item in weights]
        return divided + [Factors(str(site.weight.name), site.inputs_axis, divisors) for site in self.sites]


def probed(graph: ir.Graph, plans: Mapping[str, object]) -> Iterator[tuple[Site, bool]]:
    """Every site, and whether a division of its activation can be folded, for which statistics go by channel."""
    sites = find_sites(graph, plans)
    by_node = {site.node: site for site in sites}
    for site in sites:
        yield site, site.kind != "conv" and predecessor_of(site.activation, plans, by_node) is not None


def smooth(
    opened: OpenGraph,
    quantized: Collection[str],
    stats: Mapping[str, TensorStats],
    progress: Progress = silent,
) -> tuple[list[SmoothingGroup], dict[str, TensorStats]]:
    """Smooth behind every predecessor whose readers are all products that ``quantized`` names, where it gains enough.

    The graph's file then has the weights' factors; who opens it again sees the new values. Linear layers whose outputs
    are divided come first, so that the search at their inputs sees their changed weights.

    Args:
        opened: the FP32 graph.
        quantized: names of nodes.
        stats: by the name of the activation.
        progress: told of each predecessor.

    Returns:
        The groups that were smoothed, and the statistics as they are now.
    """
    by_node = {site.node: site for site in find_sites(opened.model.graph, opened.plans)}
    predecessors: dict[str, Predecessor] = {}
    for site in by_node.values():
        if site.kind != "conv" and (made := predecessor_of(site.activation, opened.plans, by_node)) is not None:
            predecessors.setdefault(made.name, made)
    weights = {site.weight.name for site in by_node.values()}
    ordered = sorted(predecessors.values(), key=lambda item: item.divided[0].weight.name not in weights)
    groups, current = [], dict(stats)
    for done, predecessor in enumerate(ordered):
        progress(Step("smoothing", done, len(ordered), "activations"))
        products = readers(predecessor.output, by_node) or []
        if not products or any(len(site.weight.uses()) > 1 or site.node.name not in quantized for site in products):
            continue
        group = _search(opened, predecessor, tuple(products), current)
        if group is None:
            continue
        for factors in group.factors():
            weight = opened.source.tensors[factors.weight]
            opened.source.tensors[factors.weight] = weight.multiplied(factors.of(weight.sizes))
        groups.append(group)
        for name in {str(site.activation.name) for site in products} & set(current):
            current[name] = current[name].smoothed(group.smoothing.divisors)
    if groups:
        save_weights(opened)
    return groups, current


def _search(
    opened: OpenGraph, predecessor: Predecessor, sites: tuple[Site, ...], stats: Mapping[str, TensorStats]
) -> SmoothingGroup | None:
    watched = [stats[name] for site in sites if (name := str(site.activation.name)) in stats]
    # Readers of one output see the same values, some through moves or selections; the fullest statistics count.
    fullest = max(watched, key=lambda item: item.size, default=None)
    if fullest is None or not fullest.size:
        return None
    smoothing = search(fullest, lambda: _rows(sites, opened.source), MIN_GAIN)
    return SmoothingGroup(predecessor, sites, smoothing) if smoothing.gain > MIN_GAIN else None


def _rows(sites: tuple[Site, ...], source: FileWeights) -> Iterator[np.ndarray]:
    """Rows [outputs, inputs] of the weights of linear layers, which are stored [inputs, outputs]."""
    for site in sites:
        name = str(site.weight.name)
        weight = source.tensors[name]
        for start, stop in blocks(weight.sizes[::-1]):
            yield np.ascontiguousarray(weight.columns(start, stop).T)
