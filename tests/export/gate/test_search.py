"""The search, on a made-up chain whose blocks cost what a table says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from xsam_edge.export.gate.measure import Score
from xsam_edge.export.gate.search import Search, SearchResult
from xsam_edge.export.precision.plan import Assignment, GraphNames, Plan, Rule, assign, resolve

BLOCKS = 9
NODES = tuple(f"/llm/layers.{index}/mlp/{op}" for index in range(BLOCKS) for op in ("MatMul", "Mul"))
NAMES = GraphNames(NODES, {name: frozenset({"int8", "int4"}) for name in NODES if name.endswith("MatMul")}, {})
INT8 = Plan("fp16", (), (Rule("/llm/**", "int8"),))


class Chain:
    """Mask IoU = 1 - the costs of what is low: integers by block, FP16 by block, FP16 between graphs, a coded cache."""

    def __init__(
        self, integers: Mapping[int, float], half: Mapping[int, float] = {}, edges: float = 0.0, cache: float = 0.0
    ) -> None:
        self.integers, self.half, self.edges, self.cache = integers, half, edges, cache
        self.asked: list[tuple[str, int | None]] = []

    def __call__(self, assignment: Assignment, limit: int | None, what: str) -> Score:
        self.asked.append((what, limit))
        lost = self.edges if assignment.float == "fp16" else 0.0
        lost += self.cache if assignment.kv_cache else 0.0
        for index in range(BLOCKS):
            found = assignment.nodes[f"/llm/layers.{index}/mlp/MatMul"]
            lost += self.integers.get(index, 0.0) if found.quantized else 0.0
            lost += self.half.get(index, 0.0) if found.float == "fp16" else 0.0
        return Score(1 - lost, 0.0, None, 1, 1, {}, ())


def search(chain: Chain, plan: Plan, bound: float = 0.97) -> SearchResult:
    """The first result."""
    return next(Search(NAMES, chain, bound).results(plan))


def raised(found: SearchResult) -> list[int]:
    return sorted(int(item.pattern.split("layers.")[1].split("/")[0]) for item in found.raised)


def test_a_plan_that_holds_is_left_alone() -> None:
    chain = Chain({0: 0.01})
    found = search(chain, INT8)
    assert found.passed and found.plan == INT8 and found.trials == len(chain.asked) == 1


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({3: 0.5}, [3]),
        ({3: 0.02, 7: 0.025}, [7]),
        (dict.fromkeys(range(BLOCKS), 0.01), None),
        ({index: 0.001 * index for index in range(BLOCKS)}, [8]),
    ],
)
def test_no_more_is_raised_than_the_bound_needs(costs: dict[int, float], expected: list[int] | None) -> None:
    chain = Chain(costs)
    found = search(chain, INT8)
    assert found.passed and found.score.mean_iou >= 0.97
    if expected is None:
        assert len(found.raised) == BLOCKS - 3  # three of 0.01 remain
    else:
        assert raised(found) == expected
    # The plan says it by itself.
    assert chain(assign(found.plan, NAMES), None, "").mean_iou == found.score.mean_iou
    assert all(rule.precision == "fp16" and rule.why for rule in found.plan.rules[1:])
    assert found.trials == len(chain.asked) - 1
    assert sum(what.endswith("alone") for what, _ in chain.asked) == BLOCKS


@pytest.mark.parametrize(("cost", "kept"), [(0.05, False), (0.02, True)])
def test_a_cache_that_misses_the_bound_by_itself_is_given_up_before_blocks(cost: float, kept: bool) -> None:
    """One that does not is no reason to raise fewer blocks."""
    chain = Chain({3: 0.02}, cache=cost)
    found = search(chain, replace(INT8, kv_cache="int8"))
    assert found.passed and raised(found) == ([3] if kept else [])
    assert found.plan.kv_cache == ("int8" if kept else None)
    assert [what for what, _ in chain.asked][1] == "keys and values alone quantised"


def test_a_cache_is_no_integer_product() -> None:
    """Where FP16 is at fault, the cache stays what it is; and in the end all is FP32, the cache too."""
    found = search(Chain({}, {1: 0.2}, cache=0.01), Plan("fp16", kv_cache="fp8"))
    assert found.passed and raised(found) == [1] and found.plan.kv_cache == "fp8"
    everything = search(Chain({}, {1: 0.2}, edges=0.5, cache=0.01), Plan("fp16", kv_cache="fp8"))
    assert everything.passed and everything.plan == Plan("fp32")


def test_half_precision_at_fault_is_raised_to_single() -> None:
    found = search(Chain({2: 0.5}, {5: 0.5}), INT8)
    assert found.passed
    assert {(item.pattern, item.to) for item in found.raised} == {
        ("/llm/layers.5/mlp/**", "fp32"),
        ("/llm/layers.2/mlp/**", "fp16"),
    }
    assert resolve(found.plan, NAMES)["/llm/layers.5/mlp/MatMul"].float == "fp32"


def test_a_float_plan_is_raised_to_single() -> None:
    found = search(Chain({}, {1: 0.2, 4: 0.001}), Plan("fp16"), 0.99)
    assert found.passed and raised(found) == [1]
    assert found.plan.rules == (Rule("/llm/layers.1/mlp/**", "fp32", found.plan.rules[0].why),)


def test_half_precision_that_no_block_is_to_blame_for_leaves_integers_in_float32() -> None:
    """Features and cache between graphs are FP16 whatever is raised; around integers FP32 will do."""
    found = search(Chain({2: 0.01}, edges=0.5), INT8)
    assert found.passed and found.plan.quantizes and found.plan.float == "fp32"
    assert {item.float for item in resolve(found.plan, NAMES).values()} == {"fp32"}
    assert sum(item.quantized is not None for item in resolve(found.plan, NAMES).values()) == BLOCKS


def test_with_everything_raised_a_plan_is_float32() -> None:
    found = search(Chain({}, edges=0.5), Plan("fp16"))
    assert found.passed and found.plan == Plan("fp32") and found.score.mean_iou == 1


class Erratic(Chain):
    """Integers cost more, the fewer of them there are, but for none; then FP16 does."""

    def __call__(self, assignment: Assignment, limit: int | None, what: str) -> Score:
        score = super().__call__(assignment, limit, what)
        count = sum(item.quantized is not None for item in assignment.nodes.values())
        half = sum(item.float == "fp16" for item in assignment.nodes.values())
        lost = 1 / count if count else 0.01 * half
        return Score(min(score.mean_iou, 1 - lost), 0.0, None, 1, 1, {}, ())


def test_where_raising_more_is_worse_the_search_goes_on_to_float32() -> None:
    class NoFloat(Erratic):
        def __call__(self, assignment: Assignment, limit: int | None, what: str) -> Score:
            score = super().__call__(assignment, limit, what)
            return Score(1.0, 0.0, None, 1, 1, {}, ()) if what == "nothing quantised" else score

    chain = NoFloat({})
    found = search(chain, INT8)
    assert found.passed and not found.plan.quantizes
    # All integers were raised, and then blocks in FP16, as many as it takes: of 18 nodes two may stay.
    assert {item.to for item in found.raised} == {"fp16", "fp32"}
    assert sum(item.float == "fp16" for item in resolve(found.plan, NAMES).values()) == 2
    assert found.trials == len(chain.asked) and found.blocks == BLOCKS


def test_the_search_goes_on_from_a_plan_that_is_below_the_bound_as_it_is_written() -> None:
    chain = Chain({index: 0.02 for index in range(BLOCKS)})
    steps = Search(NAMES, chain, 0.97)
    counts, results = [], steps.results(INT8)
    for result in results:
        counts.append(len(result.raised) if result.plan.quantizes else "floats")
        assert result.passed and result.trials == len(chain.asked) + len(counts) - 1
        if not result.plan.quantizes:
            break
        steps.below(result, Score(0.963, 0.0, None, 1, 1, {}, ()))
    # One block of 0.02 holds, none more so; without integers the next one is FP32 from the worst block on.
    assert counts == [8, 9, "floats"]
    assert {item.to for item in result.raised} == {"fp16", "fp32"}


class Stuck(Chain):
    """Nothing holds, and what is tried last is not the best."""

    def __call__(self, assignment: Assignment, limit: int | None, what: str) -> Score:
        score = super().__call__(assignment, limit, what)
        best = 0.9 if any(item.quantized for item in assignment.nodes.values()) else 0.8
        return Score(min(score.mean_iou, best), 0.0, None, 1, 1, {}, ())


def test_what_cannot_be_held_gives_the_best_there_was() -> None:
    chain = Stuck({0: 0.3})
    found = search(chain, Plan("fp32", (), (Rule("/llm/**", "int8"),)))
    assert not found.passed
    assert found.score.mean_iou == 0.9
    assert 0 in raised(found)
    assert (found.trials, found.blocks) == (len(chain.asked), BLOCKS)


def test_the_best_may_be_one_that_was_written() -> None:
    class Short(Chain):
        """The plan holds as it is, and nothing that is raised does."""

        def __call__(self, assignment: Assignment, limit: int | None, what: str) -> Score:
            super().__call__(assignment, limit, what)
            return Score(1.0 if what == "the plan as it is" else 0.9, 0.0, None, 1, 1, {}, ())

    steps = Search(NAMES, Short({}), 0.97)
    results = steps.results(INT8)
    steps.below(next(results), Score(0.95, 0.0, None, 1, 1, {}, ()))
    last = next(results)
    assert (last.passed, last.score.mean_iou, last.plan) == (False, 0.95, INT8)
    assert next(results, None) is None


def test_a_ranking_takes_the_place_of_trials_of_each_block() -> None:
    chain = Chain({3: 0.02, 7: 0.025})
    noise = {f"/llm/layers.{index}/mlp/**": 0.001 * index for index in range(1, BLOCKS)}
    ranked: list[Assignment] = []
    steps = Search(NAMES, chain, 0.97, rank=lambda assignment: ranked.append(assignment) or noise)  # type: ignore[func-returns-value]
    found = next(steps.results(INT8))
    assert found.passed and raised(found) == [7, 8] and not found.alone
    assert found.raised[0].why == "raised: it adds noise 21 dB below the signal"
    assert not any(what.endswith("alone") for what, _ in chain.asked)
    assert len(ranked) == 1  # of one plan blocks are ranked once


def test_what_would_be_raised_first_is_told_when_the_time_is_over() -> None:
    chain = Chain(dict.fromkeys(range(BLOCKS), 0.1))
    noise = {"/llm/layers.4/mlp/**": 0.5, "/llm/layers.2/mlp/**": 0.2, "/llm/layers.6/mlp/**": 1e-3}
    found = next(Search(NAMES, chain, 0.97, time.monotonic(), lambda _: noise).results(INT8))
    assert (found.passed, found.out_of_time, found.trials, found.plan) == (False, True, 1, INT8)
    assert found.blocks == BLOCKS
    assert found.first[:3] == ("/llm/layers.4/mlp/**", "/llm/layers.2/mlp/**", "/llm/layers.6/mlp/**")


def test_blocks_tried_alone_are_told_in_the_order_of_raising() -> None:
    found = search(Stuck({0: 0.3, 5: 0.4}), Plan("fp32", (), (Rule("/llm/**", "int8"),)))
    assert found.first[:2] == ("/llm/layers.5/mlp/**", "/llm/layers.0/mlp/**")


def test_where_nothing_is_left_to_raise_nothing_is_tried() -> None:
    """Integers with FP32 around them everywhere: without them no block is in FP16, only values between graphs are."""

    class Fickle(Stuck):
        def __call__(self, assignment: Assignment, limit: int | None, what: str) -> Score:
            score = super().__call__(assignment, limit, what)
            return Score(1.0, 0.0, None, 1, 1, {}, ()) if what == "nothing quantised" else score

    chain = Fickle({0: 0.3})
    found = search(chain, Plan("fp16", (Rule("/llm/**", "fp32"),), (Rule("/llm/**", "int8"),)))
    assert not found.passed and chain.asked[-1][0] == "all in FP32"
    assert not any(" of 0 blocks raised" in what for what, _ in chain.asked)
