"""Precision plans as files: ordered rules of node-name patterns, read, checked, resolved, written.

Two things are said of each node. It is quantised if the last rule that matches it is for ``int8``, ``int4`` or
``fp8``: a later rule for ``fp32`` or ``fp16`` takes a block back. Its floating-point type is that of the last rule for
``fp32`` or ``fp16`` that matches, else the plan's own; but the nodes of an FP32 island stay FP32 whatever a rule says,
so that a whole block can be raised to ``fp16`` without losing the norms in it. A quantised node inside of an island is
quantised from FP32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from xsam_edge.runtime.bundle.constraints import Text
from xsam_edge.runtime.bundle.typed_json import from_json, load_json
from xsam_edge.runtime.errors import InputError

FloatType = Literal["fp32", "fp16"]
Quantized = Literal["int8", "int4", "fp8"]
Precision = Literal["fp32", "fp16", "int8", "int4", "fp8"]
CachePrecision = Literal["int8", "fp8"]

PLAN_FORMAT = 1
DEFAULT_RANGES = "percentile-99.999"


@dataclass(frozen=True)
class Rule:
    """The nodes that a pattern means, and their precision."""

    nodes: Text
    precision: Precision
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """A whole plan. ``ranges`` names how ranges of activations are found, see ``calibration.statistics.ranges``.

    ``islands`` are rules for ``fp32`` that no other rule overrides. ``kv_cache`` is what keys and values are stored as
    between runs of the language model, None: as its floats.
    """

    float: FloatType
    islands: tuple[Rule, ...] = ()
    rules: tuple[Rule, ...] = ()
    ranges: str = DEFAULT_RANGES
    smoothing: bool = True
    kv_cache: CachePrecision | None = None

    @property
    def quantizes(self) -> bool:
        """Whether any rule quantises."""
        return any(rule.precision in get_args(Quantized) for rule in self.rules)

    @property
    def calibrates(self) -> bool:
        """Whether anything is quantised whose range has to be known."""
        return self.quantizes or self.kv_cache is not None

    def to_json(self) -> str:
        """The file's text, a rule to a line."""
        head = {"format": PLAN_FORMAT, "float": self.float, "ranges": self.ranges, "smoothing": self.smoothing}
        if self.kv_cache is not None:
            head["kv_cache"] = self.kv_cache
        islands = [{"nodes": rule.nodes, "why": rule.why} for rule in self.islands]
        rules = [{"nodes": rule.nodes, "precision": rule.precision, "why": rule.why} for rule in self.rules]
        fields = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        fields += [_lines("fp32_islands", islands), _lines("rules", rules)]
        return "{\n" + ",\n".join(fields) + "\n}\n"


def _lines(key: str, rules: list[dict[str, str]]) -> str:
    texts = [json.dumps({name: value for name, value in rule.items() if value}) for rule in rules]
    return f'  "{key}": [' + "".join(f"\n    {text}," for text in texts).removesuffix(",") + "\n  ]"


@dataclass(frozen=True)
class NodePrecision:
    """What a plan says of one node."""

    float: FloatType
    quantized: Quantized | None = None


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a plan comes to: the type of embeddings, inputs and outputs of graphs, and the precision of every node.

    Keys and values have that type too, but where ``kv_cache`` says another.
    """

    float: FloatType
    nodes: Mapping[str, NodePrecision]
    kv_cache: CachePrecision | None = None


@dataclass(frozen=True)
class GraphNames:
    """What a plan can speak of: the nodes of all graphs, what each product can be quantised to, and why others cannot.

    A product that is in ``sites`` may lack a precision; ``reasons`` has a line for that too, under (name, precision).
    """

    nodes: tuple[str, ...]
    sites: Mapping[str, frozenset[Quantized]]
    reasons: Mapping[tuple[str, Precision], str]


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """A node-name pattern: ``*`` stands for any part of one path component, ``**`` for any components."""
    parts = re.split(r"(\*\*|\*)", text)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts))


def matches(pattern: str, name: str) -> bool:
    """Whether a node's name is one of those that a pattern means."""
    return _pattern(pattern).fullmatch(name) is not None


@dataclass(frozen=True)
class _Island:
    nodes: Text
    why: str = ""


@dataclass(frozen=True)
class _PlanFile:
    """A plan as it stands in a file."""

    format: Literal[1]
    float: FloatType = "fp16"
    ranges: str = DEFAULT_RANGES
    smoothing: bool = True
    fp32_islands: tuple[_Island, ...] = ()
    rules: tuple[Rule, ...] = ()
    kv_cache: CachePrecision | None = None


def read_plan(path: Path) -> Plan:
    """Read a file.

    Raises:
        InputError: unreadable, or an unknown key, precision or type of value.
    """
    return parse_plan(load_json(path, advice="expected a precision plan"), str(path))


def parse_plan(content: object, where: str) -> Plan:
    """Check a plan's JSON value. Raises InputError that begins with ``where``."""
    if not isinstance(content, dict) or content.get("format") != PLAN_FORMAT:
        raise InputError(f"{where} is no precision plan; expected an object with 'format' {PLAN_FORMAT}")
    file = from_json(_PlanFile, content, where)
    islands = tuple(Rule(island.nodes, "fp32", island.why) for island in file.fp32_islands)
    return Plan(file.float, islands, file.rules, file.ranges, file.smoothing, file.kv_cache)


def check_plan(plan: Plan, names: GraphNames) -> None:
    """Raise InputError for a rule that means no node, or that quantises what cannot be quantised."""
    for rule in (*plan.islands, *plan.rules):
        matched = [name for name in names.nodes if matches(rule.nodes, name)]
        if not matched:
            raise InputError(
                f"the pattern {rule.nodes!r} of the precision plan matches no node of any graph; "
                "the names stand in the .onnx files of an FP32 bundle, such as " + _example(names)
            )
        if rule.precision == "fp32" or rule.precision == "fp16":
            continue
        if not any(rule.precision in names.sites.get(name, ()) for name in matched):
            reasons = {names.reasons.get((name, rule.precision), "") for name in matched} - {""}
            why = "; ".join(sorted(reasons)[:3]) or "none of its nodes is a product with a weight"
            raise InputError(f"the precision plan asks for {rule.precision} of {rule.nodes!r}, which cannot be: {why}")


def _example(names: GraphNames) -> str:
    return next(iter(names.sites), names.nodes[0] if names.nodes else "/llm/model/layers.0/mlp/down_proj/MatMul")


def resolve(plan: Plan, names: GraphNames) -> dict[str, NodePrecision]:
    """What the plan says of every node. Of the nodes that a rule quantises, products that can be are."""
    return {name: _resolve(plan, name, names.sites.get(name, frozenset())) for name in names.nodes}


def assign(plan: Plan, names: GraphNames) -> Assignment:
    """All that graphs are lowered by."""
    return Assignment(plan.float, resolve(plan, names), plan.kv_cache)


def _resolve(plan: Plan, name: str, able: Iterable[Quantized]) -> NodePrecision:
    floating: FloatType = plan.float
    quantized: Quantized | None = None
    for rule in plan.rules:
        if not matches(rule.nodes, name):
            continue
        if rule.precision == "fp32" or rule.precision == "fp16":
            floating, quantized = rule.precision, None
        elif rule.precision in able:
            quantized = rule.precision
    if any(matches(rule.nodes, name) for rule in plan.islands):
        floating = "fp32"
    return NodePrecision(floating, quantized)
