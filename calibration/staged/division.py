"""Divides the language model's graph between its layers, so that a part of its weights is in memory at a time.

A cut is a value that all that follows hangs on: the sum that layers add to. What hangs on shapes and positions alone,
such as masks and rotations, is computed again in every part. The keys and values of a layer stay in its part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from xsam_edge.runtime.bundle import contract

_PASTS = {"past_key": contract.new_key, "past_value": contract.new_value}


@dataclass(frozen=True)
class Division:
    """Names of the values between the parts of a graph, in their order: one fewer than there are parts."""

    cuts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cuts) + 1

    def input(self, part: int) -> str:
        """The value that comes from the part before."""
        return self.cuts[part - 1] if part else contract.INPUTS_EMBEDS

    def output(self, part: int) -> str | None:
        """The value that goes to the next part, None of the last."""
        return self.cuts[part] if part < len(self.cuts) else None


def divide(graph: ir.Graph, own: Collection[str], most_bytes: int) -> Division:
    """Divide a language model into parts of at most ``most_bytes`` of weights, where there are places to cut at.

    ``own`` are the names of its outputs; what other outputs were added for does not matter.
    """
    embeds = {value for value in graph.inputs if value.name == contract.INPUTS_EMBEDS}
    stream = _hanging(graph, embeds)
    moving = _moving(graph)
    nodes = _ordered([node for node in _needed(graph, own) if not stream.isdisjoint(node.outputs)], stream, moving)
    last = {value: place for place, node in enumerate(nodes) for value in node.inputs if value is not None}
    live = set(embeds)
    counted: set[ir.Value] = set()
    pieces: list[tuple[int, str]] = []  # bytes of weights up to a place to cut at, and the value there
    size = 0
    for place, node in enumerate(nodes):
        size += sum(_weights(node, moving, counted))
        live |= stream & set(node.outputs)  # what hangs on a past alone is at hand in any part
        live = {value for value in live if last.get(value, -1) > place}
        if len(live) == 1 and live <= set(node.outputs):
            pieces.append((size, str(node.outputs[0].name)))
            size = 0
    return Division(tuple(_pack([*pieces, (size, "")], most_bytes)))


def take(model: ir.Model, division: Division, part: int) -> None:
    """Reduce a language model to a part of it, in place.

    Its outputs are those that the part computes, besides them the value that the next part goes on from.
    """
    graph = model.graph
    values = {str(value.name): value for value in (*graph.inputs, *(out for node in graph for out in node.outputs))}
    numbers = _numbers(graph, division)
    outputs = [value for value in graph.outputs if _place(value, numbers) == part]
    if (onwards := division.output(part)) is not None:
        outputs.append(values[onwards])
    if part:
        before = values[division.input(part)]
        made = ir.Value(name=before.name, type=before.type, shape=before.shape)
        ir.convenience.replace_all_uses_with(before, made)
        graph.inputs.append(made)
    graph.outputs.clear()
    graph.outputs.extend(dict.fromkeys(outputs))
    RemoveUnusedNodesPass()(model)
    for value in [value for value in graph.inputs if not value.uses()]:
        graph.inputs.remove(value)


def _needed(graph: ir.Graph, outputs: Collection[str]) -> list[ir.Node]:
    """The nodes that some outputs need, in their order."""
    needed: set[ir.Node] = set()
    waiting = [value.producer() for value in graph.outputs if value.name in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in needed:
            needed.add(node)
            waiting += [value.producer() for value in node.inputs if value is not None]
    return [node for node in graph if node in needed]


def _ordered(nodes: list[ir.Node], stream: set[ir.Value], moving: set[ir.Value]) -> list[ir.Node]:
    """The nodes in their order, but what leads to outputs alone as soon as it can: a Cast is not left for the end."""
    makers = {value: node for node in nodes for value in node.outputs}
    before = {node: {makers[value] for value in stream.intersection(node.inputs) if value in makers} for node in nodes}
    leading: set[ir.Node] = set()  # to weights that are read
    for node in reversed(nodes):
        if node in leading or any(_weights(node, moving, set())):
            leading |= {node, *before[node]}
    after: dict[ir.Node, list[ir.Node]] = {node: [] for node in nodes}
    for node, sources in before.items():
        for source in sources:
            after[source].append(node)
    places = {node: (node in leading, place) for place, node in enumerate(nodes)}
    missing = {node: len(sources) for node, sources in before.items()}
    ready = [(*places[node], node) for node in nodes if not missing[node]]
    heapify(ready)
    ordered: list[ir.Node] = []
    while ready:
        *_, node = heappop(ready)
        ordered.append(node)
        for reader in after[node]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, (*places[reader], reader))
    return ordered


def _moving(graph: ir.Graph) -> set[ir.Value]:
    """What hangs on the input embeddings, or on a past, by more than their shapes."""
    inputs = (value for value in graph.inputs if value.name == contract.INPUTS_EMBEDS or _new_of(value) is not None)
    return _hanging(graph, inputs)


def _hanging(graph: ir.Graph, values: Iterable[ir.Value]) -> set[ir.Value]:
    """Values, and what hangs on them by more than their shapes."""
    found = set(values)
    for node in graph:
        if node.op_type != "Shape" and any(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def _new_of(value: ir.Value) -> str | None:
    """The output whose rows become this past, None of other inputs."""
    name, _, layer = str(value.name).partition(".")
    return _PASTS[name](int(layer)) if name in _PASTS else None


def _numbers(graph: ir.Graph, division: Division) -> Mapping[ir.Value, int]:
    """The part of every value that hangs on the input embeddings by more than their shape."""
    follows = {name: part + 1 for part, name in enumerate(division.cuts)}
    outputs = {str(value.name): value for value in graph.outputs}
    pasts: dict[ir.Value, int] = {}
    # Keys and values that are computed tell where those of the past belong, on which other values may hang alone.
    for _ in range(2):
        numbers = {value: 0 for value in graph.inputs if value.name == contract.INPUTS_EMBEDS} | pasts
        for node in graph:
            known = [max(numbers[value], follows.get(str(value.name), 0)) for value in node.inputs if value in numbers]
            if known and node.op_type != "Shape":
                numbers.update(dict.fromkeys(node.outputs, max(known)))
        pasts = {value: numbers[outputs[new]] for value in graph.inputs if (new := _new_of(value)) in outputs}
    return numbers


def _place(output: ir.Value, numbers: Mapping[ir.Value, int]) -> int:
    """The part that computes an output, which may hang on the shape of what is computed there alone."""
    place, waiting = 0, [output]
    while waiting:
        value = waiting.pop()
        if value in numbers:
            place = max(place, numbers[value])
        elif (producer := value.producer()) is not None:
            waiting += [item for item in producer.inputs if item is not None]
    return place


def _weights(node: ir.Node, moving: set[ir.Value], counted: set[ir.Value]) -> Iterator[int]:
    """Bytes of the weights that a node is the first to read, itself or through what is computed of weights alone."""
    if node.op_type == "QuantizeLinear" or not any(out in moving for out in node.outputs):
        return  # a scale is no weight: new keys and values need not wait for the end
    waiting = [value for value in node.inputs if value is not None]
    while waiting:
        value = waiting.pop()
        if value in moving or value in counted:
            continue
        counted.add(value)
        if value.const_value is not None:
            yield value.const_value.size * 4
        elif (producer := value.producer()) is not None:
            waiting += [item for item in producer.inputs if item is not None]


def _pack(pieces: Iterable[tuple[int, str]], most: int) -> Iterator[str]:
    """The places to cut at, as few as will do; behind each piece but the last there is one."""
    size, before = 0, ""
    for own, name in pieces:
        if size and size + own > most:
            yield before
            size = 0
        size, before = size + own, name
