"""The search for a plan that keeps the masks: what hurts most is raised, and no more than the bound needs.

First every block is quantised alone, with all others in FP32: leaving one out of many instead measures the luck of the
others. Then the worst of them are raised, as many as bisection finds to be needed: a chain run for every block on a few
pictures, and one for every halving on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from xsam_edge.export.gate.measure import Score
from xsam_edge.export.precision.blocks import members
from xsam_edge.export.precision.plan import FloatType, GraphNames, NodePrecision, Plan, Rule, resolve

Precisions = Mapping[str, NodePrecision]
Trial = Callable[[Precisions, "int | None", str], Score]
"""Scores precisions on the first so many pictures (None: all); the text tells the user what is tried."""

FEW = 16  # pictures on which a block is measured alone


@dataclass(frozen=True)
class RaisedBlock:
    """A block that was raised. ``alone`` is the mask IoU with this block in the plan's precision and no other."""

    pattern: str
    to: FloatType
    alone: float


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The plan with its raised blocks appended, its score, and what the search cost."""

    plan: Plan
    score: Score
    raised: tuple[RaisedBlock, ...]
    alone: Mapping[str, float]  # of every block that was measured alone
    trials: int
    passed: bool


class Search:
    """One search. ``min_iou`` is the bound of the mean mask IoU."""

    def __init__(self, names: GraphNames, trial: Trial, min_iou: float) -> None:
        self._names, self._trial, self._min_iou = names, trial, min_iou
        self._trials = 0

    def run(self, plan: Plan) -> SearchResult:
        """The first plan found that holds the bound; otherwise the best there was, with ``passed`` false."""
        score = self._score(resolve(plan, self._names), None, "the plan as it is")
        if score.mean_iou >= self._min_iou:
            return SearchResult(plan, score, (), {}, self._trials, True)
        raised: tuple[RaisedBlock, ...] = ()
        alone: dict[str, float] = {}
        if plan.quantizes and plan.float == "fp16":
            floating = replace(plan, rules=tuple(rule for rule in plan.rules if rule.precision in ("fp32", "fp16")))
            base = self._score(resolve(floating, self._names), None, "nothing quantised")
            if base.mean_iou < self._min_iou:
                # FP16 itself is at fault somewhere; no block need be blamed for that with its integers.
                outcome = self._raise(floating, base, "fp32")
                plan = replace(plan, rules=plan.rules + outcome.plan.rules[len(floating.rules) :])
                raised, alone = outcome.raised, dict(outcome.alone)
                if not outcome.passed:
                    return replace(outcome, plan=plan)
                score = self._score(resolve(plan, self._names), None, "the rest quantised")
                if score.mean_iou >= self._min_iou:
                    return SearchResult(plan, score, raised, alone, self._trials, True)
        target: FloatType = plan.float if plan.quantizes else "fp32"
        outcome = self._raise(plan, score, target)
        return replace(outcome, raised=raised + outcome.raised, alone={**alone, **outcome.alone})

    def _raise(self, plan: Plan, score: Score, to: FloatType) -> SearchResult:
        base = resolve(plan, self._names)
        low = {
            block: names
            for block, names in members(self._names.nodes).items()
            if any(base[name].quantized if plan.quantizes else base[name].float == "fp16" for name in names)
        }
        alone: dict[str, float] = {}
        for number, (block, names) in enumerate(low.items(), 1):
            what = f"block {number} of {len(low)} alone"
            alone[block] = self._score(_alone(base, names, plan.quantizes), FEW, what).mean_iou
        order = sorted(low, key=alone.__getitem__)
        best = SearchResult(plan, score, (), alone, self._trials, False)
        few, enough = 0, len(order) + 1  # so many raised are known not to do, and to do
        while enough - few > 1:
            count = min((few + enough) // 2, len(order))
            chosen = tuple(RaisedBlock(block, to, alone[block]) for block in order[:count])
            rules = tuple(Rule(item.pattern, item.to, _why(item)) for item in chosen)
            tried = replace(plan, rules=plan.rules + rules)
            tried_score = self._score(resolve(tried, self._names), None, f"{count} of {len(low)} blocks raised")
            passed = tried_score.mean_iou >= self._min_iou
            if passed or (not best.passed and tried_score.mean_iou > best.score.mean_iou):
                best = SearchResult(tried, tried_score, chosen, alone, self._trials, passed)
            few, enough = (few, count) if passed else (count, enough)
        return replace(best, trials=self._trials)

    def _score(self, precisions: Precisions, limit: int | None, what: str) -> Score:
        self._trials += 1
        return self._trial(precisions, limit, what)


def _alone(base: Precisions, names: tuple[str, ...], quantized: bool) -> dict[str, NodePrecision]:
    """One block as it is, all others in FP32; around integers too, which fast kernels want."""
    result = dict.fromkeys(base, NodePrecision("fp32"))
    for name in names:
        result[name] = NodePrecision("fp32", base[name].quantized) if quantized else base[name]
    return result


def _why(raised: RaisedBlock) -> str:
    return f"raised: alone in lower precision it leaves a mask IoU of {raised.alone:.4f}"
