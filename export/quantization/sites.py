"""Where a graph can be quantised: products of an activation with a weight.

A site is found by structure, not by name: MatMul with a weight of two axes, Conv with one of four. Products of two
activations (attention) and of small tables (relative positions, three axes) are none.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import onnx_ir as ir

from xsam_edge.export.precision.plan import GraphNames, Precision, Quantized

SiteKind = Literal["matmul", "conv"]

INT4_BLOCK = 128
_LEAST_BLOCK = 32  # below, the scales weigh as much as a wider code would


@dataclass(frozen=True, eq=False)
class Site:
    """A node with a weight. ``outputs_axis`` and ``inputs_axis`` are axes of the stored weight."""

    node: ir.Node
    kind: SiteKind
    activation: ir.Value
    weight: ir.Value
    inputs: int
    outputs: int
    outputs_axis: int
    inputs_axis: int

    @property
    def channel_axis(self) -> int:
        """The activation's axis that the weight's inputs stand for."""
        return 1 if self.kind == "conv" else -1

    @property
    def int4_block(self) -> int:
        """How many inputs share a scale in int4: 128, or the largest power of two that divides the inputs."""
        block = INT4_BLOCK
        while self.inputs % block:
            block //= 2
        return block


def find_sites(graph: ir.Graph, weights: Container[str]) -> list[Site]:
    """All sites, in the order of the graph. ``weights`` holds the names of initialisers that are weights."""
    return [site for node in graph if isinstance(site := _site(node, weights), Site)]


def graph_names(graphs: Mapping[str, tuple[ir.Graph, Container[str]]]) -> GraphNames:
    """Everything a plan can speak of, of graphs with the names of their weights."""
    nodes: list[str] = []
    sites: dict[str, frozenset[Quantized]] = {}
    reasons: dict[tuple[str, Precision], str] = {}
    for graph, weights in graphs.values():
        for node in graph:
            name = str(node.name)
            nodes.append(name)
            site = _site(node, weights)
            if site is None:
                continue
            if isinstance(site, str):
                reasons |= {(name, precision): f"{name}: {site}" for precision in get_args(Quantized)}
                continue
            unable = {precision: why for precision, why_not in _WHY_NOT.items() if (why := why_not(site))}
            sites[name] = frozenset(get_args(Quantized)) - unable.keys()
            reasons |= {(name, precision): f"{name}: {why}" for precision, why in unable.items()}
    return GraphNames(tuple(nodes), sites, reasons)


def _why_not_int4(site: Site) -> str:
    if site.kind != "matmul":
        return "int4 is for linear layers"
    if site.int4_block < _LEAST_BLOCK:
        return f"{site.inputs} inputs are not whole blocks of at least {_LEAST_BLOCK}"
    if site.outputs % 2:
        return f"{site.outputs} outputs; two codes share a byte, so int4 needs an even number"
    if len(site.weight.uses()) > 1:
        return "its weight is shared"
    return ""


def _why_not_fp8(site: Site) -> str:
    # TensorRT has FP8 kernels for some convolutions: of ungrouped ones, by numbers of channels and by GPU.
    return "" if site.kind == "matmul" else "fp8 is for linear layers"


_WHY_NOT: Mapping[Quantized, Callable[[Site], str]] = {"int4": _why_not_int4, "fp8": _why_not_fp8}


def _site(node: ir.Node, weights: Container[str]) -> Site | str | None:
    """The site of a node; for other products the reason why it is none."""
    if node.op_type not in ("MatMul", "Gemm", "Conv"):
        return None
    activation, weight = node.inputs[0], node.inputs[1]
    assert activation is not None and weight is not None
    if weight.name not in weights:
        return "both of its inputs are activations"
    if activation.is_initializer():
        return "both of its inputs are weights"
    assert weight.shape is not None
    shape = tuple(int(size) for size in weight.shape.numpy())
    if node.op_type == "Conv":
        group = node.attributes["group"].as_int() if "group" in node.attributes else 1
        if len(shape) != 4 or group != 1:
            return f"a convolution of {len(shape) - 2} axes in {group} groups; 2 axes and 1 group are quantised"
        return Site(node, "conv", activation, weight, shape[1], shape[0], 0, 1)
    if node.op_type == "Gemm":
        return "a Gemm; linear layers are MatMul"  # quantised, ONNX Runtime runs it slowly or not at all
    if len(shape) != 2:
        return f"its weight has {len(shape)} axes; 2 are quantised"
    return Site(node, "matmul", activation, weight, shape[0], shape[1], 1, 0)
