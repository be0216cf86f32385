"""Precision plans as files: ordered rules of node-name patterns, read, checked, resolved, written.

Two things are said of each node. It is quantised if the last rule that matches it is for ``int8`` or ``int4``: a later
rule for a floating-point type takes a block back. Its floating-point type is that of the last rule for ``fp32`` or
``fp16`` that matches, else the plan's own; but the nodes of an FP32 island stay FP32 whatever a rule says, so that a
whole block can be raised to ``fp16`` without losing the norms in it. A quantised node inside of an island is quantised
from FP32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from xsam_edge.runtime.errors import InputError

FloatType = Literal["fp32", "fp16"]
Quantized = Literal["int8", "int4"]
Precision = Literal["fp32", "fp16", "int8", "int4"]

PLAN_FORMAT = 1
DEFAULT_RANGES = "percentile-99.999"
_KEYS = {"format", "float", "ranges", "smoothing", "fp32_islands", "rules"}


@dataclass(frozen=True)
class Rule:
    """The nodes that a pattern means, and their precision."""

    nodes: str
    precision: Precision
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """A whole plan. ``ranges`` names how ranges of activations are found, see ``calibration.statistics.ranges``.

    ``islands`` are rules for ``fp32`` that no other rule overrides.
    """

    float: FloatType
    islands: tuple[Rule, ...] = ()
    rules: tuple[Rule, ...] = ()
    ranges: str = DEFAULT_RANGES
    smoothing: bool = True

    @property
    def quantizes(self) -> bool:
        """Whether any rule is for integers."""
        return any(rule.precision in get_args(Quantized) for rule in self.rules)

    def to_json(self) -> str:
        """The file's text, a rule to a line."""
        head = {"format": PLAN_FORMAT, "float": self.float, "ranges": self.ranges, "smoothing": self.smoothing}
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


@dataclass(frozen=True)
class GraphNames:
    """What a plan can speak of: the nodes of all graphs, what each product can be quantised to, and why others cannot.

    A product that is in ``sites`` may lack a precision; ``reasons`` has a line for that too, under (name, precision).
    """

    nodes: tuple[str, ...]
    sites: Mapping[str, frozenset[Quantized]]
    reasons: Mapping[tuple[str, Quantized], str]


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """A node-name pattern: ``*`` stands for any part of one path component, ``**`` for any components."""
    parts = re.split(r"(\*\*|\*)", text)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts))


def matches(pattern: str, name: str) -> bool:
    """Whether a node's name is one of those that a pattern means."""
    return _pattern(pattern).fullmatch(name) is not None


def read_plan(path: Path) -> Plan:
    """Read a file.

    Raises:
        InputError: unreadable, or an unknown key, precision or type of value.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a precision plan: {error}") from None
    return parse_plan(content, str(path))


def parse_plan(content: Any, where: str) -> Plan:
    """Check a plan's JSON value. Raises InputError that begins with ``where``."""
    if not isinstance(content, dict) or content.get("format") != PLAN_FORMAT:
        raise InputError(f"{where} is no precision plan; expected an object with 'format' {PLAN_FORMAT}")
    _no_other_keys(content, _KEYS, where)
    smoothing = content.get("smoothing", True)
    if not isinstance(smoothing, bool):
        raise InputError(f"{where}: 'smoothing' is {smoothing!r}; expected true or false")
    ranges = content.get("ranges", DEFAULT_RANGES)
    if not isinstance(ranges, str):
        raise InputError(f"{where}: 'ranges' is {ranges!r}; expected a method such as {DEFAULT_RANGES!r}")
    return Plan(
        _choice(content.get("float", "fp16"), get_args(FloatType), f"{where}: 'float'"),
        tuple(_island(item, place) for item, place in _items(content, "fp32_islands", where)),
        tuple(_rule(item, place) for item, place in _items(content, "rules", where)),
        ranges,
        smoothing,
    )


def _items(content: Mapping[str, Any], key: str, where: str) -> list[tuple[Any, str]]:
    items = content.get(key, [])
    if not isinstance(items, list):
        raise InputError(f"{where}: {key!r} is a {type(items).__name__}; expected a list of objects")
    return [(item, f"{where}: {key}[{index}]") for index, item in enumerate(items)]


def _island(content: Any, where: str) -> Rule:
    return _make(content, {"nodes", "why"}, where, "fp32")


def _rule(content: Any, where: str) -> Rule:
    precision = content.get("precision") if isinstance(content, dict) else None
    return _make(content, {"nodes", "precision", "why"}, where, precision)


def _make(content: Any, keys: set[str], where: str, precision: Any) -> Rule:
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), str):
        raise InputError(f"{where} is {content!r}; expected an object with a pattern in 'nodes'")
    _no_other_keys(content, keys, where)
    _choice(precision, get_args(Precision), f"{where}: 'precision'")
    return Rule(content["nodes"], precision, str(content.get("why", "")))


def _choice(value: Any, known: Sequence[str], where: str) -> Any:
    if value not in known:
        raise InputError(f"{where} is {value!r}; expected one of {', '.join(known)}")
    return value


def _no_other_keys(content: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := set(content) - known:
        raise InputError(f"{where} has unknown keys {', '.join(sorted(unknown))}; expected {', '.join(sorted(known))}")


def check_plan(plan: Plan, names: GraphNames) -> None:
    """Raise InputError for a rule that means no node, or that quantises what cannot be quantised."""
    for rule in (*plan.islands, *plan.rules):
        matched = [name for name in names.nodes if matches(rule.nodes, name)]
        if not matched:
            raise InputError(
                f"the pattern {rule.nodes!r} of the precision plan matches no node of any graph; "
                "the names stand in the .onnx files of an FP32 bundle, such as " + _example(names)
            )
        if rule.precision != "int8" and rule.precision != "int4":
            continue
        if not any(rule.precision in names.sites.get(name, ()) for name in matched):
            reasons = {names.reasons.get((name, rule.precision), "") for name in matched} - {""}
            why = "; ".join(sorted(reasons)[:3]) or "none of its nodes is a product with a weight"
            raise InputError(f"the precision plan asks for {rule.precision} of {rule.nodes!r}, which cannot be: {why}")


def _example(names: GraphNames) -> str:
    return next(iter(names.sites), names.nodes[0] if names.nodes else "/llm/model/layers.0/mlp/down_proj/MatMul")


def resolve(plan: Plan, names: GraphNames) -> dict[str, NodePrecision]:
    """What the plan says of every node. Of the nodes that a rule for integers means, products that can be are."""
    return {name: _resolve(plan, name, names.sites.get(name, frozenset())) for name in names.nodes}


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
