"""The search, on a made-up chain whose blocks cost what a table says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from xsam_edge.export.gate.measure import Score
from xsam_edge.export.gate.search import Search
from xsam_edge.export.precision.plan import GraphNames, NodePrecision, Plan, Rule, resolve

BLOCKS = 9
NODES = tuple(f"/llm/layers.{index}/mlp/{op}" for index in range(BLOCKS) for op in ("MatMul", "Mul"))
NAMES = GraphNames(NODES, {name: frozenset({"int8", "int4"}) for name in NODES if name.endswith("MatMul")}, {})
INT8 = Plan("fp16", (), (Rule("/llm/**", "int8"),))


class Chain:
    """Mask IoU = 1 - the costs of what is low: integers by block, FP16 by block."""

    def __init__(self, integers: Mapping[int, float], half: Mapping[int, float] = {}) -> None:
        self.integers, self.half = integers, half
        self.asked: list[tuple[str, int | None]] = []

    def __call__(self, precisions: Mapping[str, NodePrecision], limit: int | None, what: str) -> Score:
        self.asked.append((what, limit))
        lost = 0.0
        for index in range(BLOCKS):
            found = precisions[f"/llm/layers.{index}/mlp/MatMul"]
            lost += self.integers.get(index, 0.0) if found.quantized else 0.0
            lost += self.half.get(index, 0.0) if found.float == "fp16" else 0.0
        return Score(1 - lost, 0.0, None, 1, 1, {}, ())


def raised(found) -> list[int]:
    return sorted(int(item.pattern.split("layers.")[1].split("/")[0]) for item in found.raised)


def test_a_plan_that_holds_is_left_alone() -> None:
    chain = Chain({0: 0.01})
    found = Search(NAMES, chain, 0.97).run(INT8)
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
    found = Search(NAMES, chain, 0.97).run(INT8)
    assert found.passed and found.score.mean_iou >= 0.97
    if expected is None:
        assert len(found.raised) == BLOCKS - 3  # three of 0.01 remain
    else:
        assert raised(found) == expected
    # The plan says it by itself.
    assert chain(resolve(found.plan, NAMES), None, "").mean_iou == found.score.mean_iou
    assert all(rule.precision == "fp16" and rule.why for rule in found.plan.rules[1:])
    assert found.trials == len(chain.asked) - 1
    assert sum(what.endswith("alone") for what, _ in chain.asked) == BLOCKS


def test_half_precision_at_fault_is_raised_to_single() -> None:
    found = Search(NAMES, Chain({2: 0.5}, {5: 0.5}), 0.97).run(INT8)
    assert found.passed
    assert {(item.pattern, item.to) for item in found.raised} == {
        ("/llm/layers.5/mlp/**", "fp32"),
        ("/llm/layers.2/mlp/**", "fp16"),
    }
    assert resolve(found.plan, NAMES)["/llm/layers.5/mlp/MatMul"].float == "fp32"


def test_a_float_plan_is_raised_to_single() -> None:
    found = Search(NAMES, Chain({}, {1: 0.2, 4: 0.001}), 0.99).run(Plan("fp16"))
    assert found.passed and raised(found) == [1]
    assert found.plan.rules == (Rule("/llm/layers.1/mlp/**", "fp32", found.plan.rules[0].why),)


def test_what_cannot_be_held_gives_the_best_there_was() -> None:
    class Stuck(Chain):
        def __call__(self, precisions, limit, what) -> Score:
            score = super().__call__(precisions, limit, what)
            return Score(min(score.mean_iou, 0.9), 0.0, None, 1, 1, {}, ())

    found = Search(NAMES, Stuck({0: 0.3}), 0.97).run(Plan("fp32", (), (Rule("/llm/**", "int8"),)))
    assert not found.passed
    assert found.score.mean_iou == 0.9
    assert 0 in raised(found)
