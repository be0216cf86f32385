"""The search for a plan that keeps the masks: what hurts most is raised, and no more than the bound needs.

First every block is lowered alone, with all others in FP32: leaving one out of many instead measures the luck of the
others. Then the worst of them are raised, as many as bisection finds to be needed: a chain run for every block on a few
pictures, and one for every halving on all of them. Where a chain run takes minutes, quantised blocks are ranked by the
noise that they add, all at once.

Where all that a stage can raise does not do, the next one goes on: quantised blocks are raised to the plan's
floating-point type, blocks in FP16 to FP32, and in the end the whole chain is FP32, with nothing left to raise. A
quantised key-value cache that misses the bound by itself is given up before any block is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from xsam_edge.export.gate.measure import Score, decibels
from xsam_edge.export.precision.blocks import members
from xsam_edge.export.precision.plan import (
    Assignment,
    CachePrecision,
    FloatType,
    GraphNames,
    NodePrecision,
    Plan,
    Rule,
    assign,
    resolve,
)

Trial = Callable[[Assignment, "int | None", str], Score]
"""Scores an assignment on the first so many pictures (None: all); the text tells the user what is tried."""

Rank = Callable[[Assignment], Mapping[str, float]]
"""The noise that each quantised block of an assignment adds, as a share of what it is added to."""


class _OutOfTimeError(Exception):
    """The search's time is over."""


FEW = 16  # pictures on which a block is measured alone


@dataclass(frozen=True)
class RaisedBlock:
    """A block that was raised, and why."""

    pattern: str
    to: FloatType
    why: str


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The plan with its raised blocks appended, its score, and what the search cost until then.

    ``alone`` is the mask IoU with a block in the plan's precision and no other, of every block that was measured so.
    ``blocks`` counts those that could be raised, of all stages so far; ``first`` are those that were looked at last, in
    the order of raising.
    """

    plan: Plan
    score: Score
    raised: tuple[RaisedBlock, ...]
    alone: Mapping[str, float]
    blocks: int
    first: tuple[str, ...]
    trials: int
    passed: bool
    out_of_time: bool = False


class Search:
    """One search. ``min_iou`` is the bound of the mean mask IoU; after ``deadline`` (``time.monotonic``) only the plan
    as it is is tried. With ``rank`` no quantised block is tried alone.
    """

    def __init__(
        self,
        names: GraphNames,
        trial: Trial,
        min_iou: float,
        deadline: float | None = None,
        rank: Rank | None = None,
    ) -> None:
        self._names, self._trial, self._min_iou, self._deadline = names, trial, min_iou, deadline
        self._rank = rank
        self._trials = 0
        self._alone: dict[str, float] = {}
        self._order: dict[str, str] = {}  # block -> why it is raised, of all that were looked at
        self._first: tuple[str, ...] = ()
        self._noise: dict[Plan, Mapping[str, float]] = {}
        self._blocks: set[str] = set()
        self._best: SearchResult | None = None

    def results(self, plan: Plan) -> Iterator[SearchResult]:
        """Plans that hold the bound, each with more raised than the one before; only a caller that wants more goes on.

        The last one, where it is reached, is the best of those that do not, with ``passed`` false. Before asking for
        another, tell :meth:`below` of the one at hand.
        """
        late = False
        try:
            for result in self._stages(plan):
                if result.passed:
                    yield result
        except _OutOfTimeError:
            late = True
        if self._best is not None:
            found = replace(self._best, trials=self._trials, blocks=len(self._blocks), alone=dict(self._alone))
            yield replace(found, first=self._first, out_of_time=late)

    def below(self, result: SearchResult, score: Score) -> None:
        """Count the measurement of a result that was written and missed the bound after all, as a trial."""
        self._trials += 1
        self._remember(replace(result, score=score, passed=False))

    def _stages(self, plan: Plan) -> Iterator[SearchResult]:
        yield self._try(plan, (), "the plan as it is")
        if plan.quantizes and self._rank is not None:  # whatever the time: what would be raised is told
            self._order_by_noise(plan, self._low(plan, quantized=True), self._rank)
        if plan.kv_cache is not None and not self._keeps_masks(plan.kv_cache):
            plan = replace(plan, kv_cache=None)
            yield self._try(plan, (), "keys and values as floats")
        floats = _without_integers(plan) if plan.quantizes else plan
        raised: tuple[RaisedBlock, ...] = ()
        if plan.quantizes:
            if plan.float == "fp16":
                plan, floats, raised = self._sound_floats(plan, floats)
                if raised or plan.float == "fp32":
                    yield self._try(plan, raised, "the rest quantised")
            yield from self._climb(plan, plan.float, raised, quantized=True)
            low = self._low(plan, quantized=True)
            raised += tuple(RaisedBlock(block, plan.float, self._order[block]) for block in low)
        if floats.float == "fp16":
            yield from self._climb(floats, "fp32", raised, quantized=False)
        if floats.float == "fp16" or plan.quantizes:
            everything = tuple(RaisedBlock(block, "fp32", why) for block, why in self._order.items())
            yield self._try(Plan("fp32"), everything, "all in FP32")

    def _keeps_masks(self, kv_cache: CachePrecision) -> bool:
        """Whether a quantised cache holds the bound with all else in FP32: where it does not, no block is at fault."""
        nodes = dict.fromkeys(self._names.nodes, NodePrecision("fp32"))
        score = self._score(Assignment("fp32", nodes, kv_cache), None, "keys and values alone quantised")
        return score.mean_iou >= self._min_iou

    def _sound_floats(self, plan: Plan, floats: Plan) -> tuple[Plan, Plan, tuple[RaisedBlock, ...]]:
        """A plan whose floats keep the masks by themselves, the same without integers, and what was raised for it.

        Where FP16 is at fault, no block need be blamed for that with its integers.
        """
        if self._try(floats, (), "nothing quantised").passed:
            return plan, floats, ()
        for result in self._climb(floats, "fp32", (), quantized=False):
            if result.passed:
                rules = result.plan.rules[len(floats.rules) :]
                return replace(plan, rules=plan.rules + rules), result.plan, result.raised
        return _in_single(plan), _in_single(floats), ()

    def _climb(
        self, plan: Plan, to: FloatType, before: tuple[RaisedBlock, ...], *, quantized: bool
    ) -> Iterator[SearchResult]:
        """Raise the blocks of a plan, worst first, as few as will do; and more, as long as results are asked for.

        Results that hold the bound are yielded; nothing is where all blocks raised do not.
        """
        base, low = resolve(plan, self._names), self._low(plan, quantized=quantized)
        self._blocks |= low.keys()
        if quantized and self._rank is not None:
            blocks = self._order_by_noise(plan, low, self._rank)
        else:
            blocks = self._try_alone(base, low, quantized)
        order = [RaisedBlock(block, to, self._order[block]) for block in blocks]
        few = 0  # so many raised are known not to do
        while few < len(order):
            enough, found = len(order) + 1, None
            while enough - few > 1:
                count = min((few + enough) // 2, len(order))
                rules = tuple(Rule(item.pattern, item.to, item.why) for item in order[:count])
                tried = replace(plan, rules=plan.rules + rules)
                result = self._try(tried, before + tuple(order[:count]), f"{count} of {len(low)} blocks raised")
                if result.passed:
                    enough, found = count, result
                else:
                    few = count
            if found is None:
                return
            yield replace(found, trials=self._trials)
            few = enough

    def _try_alone(
        self, base: Mapping[str, NodePrecision], low: Mapping[str, tuple[str, ...]], quantized: bool
    ) -> tuple[str, ...]:
        """Measure blocks; returns them in the order of raising."""
        tried: dict[str, float] = {}
        for number, (block, names) in enumerate(low.items(), 1):
            what = f"block {number} of {len(low)} alone"
            tried[block] = self._score(_alone(base, names, quantized), FEW, what).mean_iou
            self._alone[block] = tried[block]
            self._order[block] = f"raised: alone in lower precision it leaves a mask IoU of {tried[block]:.4f}"
            self._first = tuple(sorted(tried, key=tried.__getitem__))  # here: the time may be over at any block
        return tuple(sorted(tried, key=tried.__getitem__))

    def _order_by_noise(self, plan: Plan, low: Iterable[str], rank: Rank) -> tuple[str, ...]:
        """Rank blocks; returns them in the order of raising."""
        if plan not in self._noise:
            self._noise[plan] = rank(assign(plan, self._names))
        noise = self._noise[plan]
        self._blocks.update(low)
        self._first = tuple(sorted(low, key=lambda block: -noise.get(block, 0.0)))
        for block in self._first:
            level = decibels(1.0, noise.get(block, 0.0))
            self._order[block] = "raised: " + (
                "its noise was not measured" if level is None else f"it adds noise {level:.0f} dB below the signal"
            )
        return self._first

    def _low(self, plan: Plan, *, quantized: bool) -> dict[str, tuple[str, ...]]:
        """The blocks of a plan that have integers, or FP16, in them, with their nodes."""
        base = resolve(plan, self._names)
        return {
            block: names
            for block, names in members(self._names.nodes).items()
            if any(base[name].quantized if quantized else base[name].float == "fp16" for name in names)
        }

    def _try(self, plan: Plan, raised: tuple[RaisedBlock, ...], what: str) -> SearchResult:
        score = self._score(assign(plan, self._names), None, what)
        passed = score.mean_iou >= self._min_iou
        counts = len(self._blocks), self._first, self._trials
        result = SearchResult(plan, score, raised, dict(self._alone), *counts, passed)
        if not passed:
            self._remember(result)
        return result

    def _remember(self, result: SearchResult) -> None:
        if self._best is None or result.score.mean_iou > self._best.score.mean_iou:
            self._best = result

    def _score(self, assignment: Assignment, limit: int | None, what: str) -> Score:
        if self._trials and self._deadline is not None and time.monotonic() > self._deadline:
            raise _OutOfTimeError
        self._trials += 1
        return self._trial(assignment, limit, what)


def _without_integers(plan: Plan) -> Plan:
    rules = tuple(rule for rule in plan.rules if rule.precision in ("fp32", "fp16"))
    return replace(plan, rules=rules, kv_cache=None)


def _in_single(plan: Plan) -> Plan:
    """The plan with FP32 wherever it has FP16."""
    rules = (replace(rule, precision="fp32") if rule.precision == "fp16" else rule for rule in plan.rules)
    return replace(plan, float="fp32", islands=(), rules=tuple(rules))


def _alone(base: Mapping[str, NodePrecision], names: tuple[str, ...], quantized: bool) -> Assignment:
    """One block as it is, all others in FP32; around integers too, which fast kernels want."""
    nodes = dict.fromkeys(base, NodePrecision("fp32"))
    for name in names:
        nodes[name] = NodePrecision("fp32", base[name].quantized) if quantized else base[name]
    return Assignment("fp32", nodes)
