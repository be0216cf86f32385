from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from xsam_edge.export.graph.polynomial import Size, fit, places
from xsam_edge.runtime.bundle.contract import AXES

LLM = ("batch", "past", "rows", "sequence")


@pytest.mark.parametrize(
    ("axes", "value", "terms"),
    [
        (LLM, lambda at: 3072, {"1": 3072}),
        (LLM, lambda at: at["past"] + at["sequence"], {"past": 1, "sequence": 1}),
        (LLM, lambda at: at["batch"] * at["sequence"] + at["past"], {"batch*sequence": 1, "past": 1}),
        (LLM, lambda at: 7 + 10 * at["batch"] - 2 * at["rows"], {"1": 7, "batch": 10, "rows": -2}),
        (
            ("batch", "conditions"),
            lambda at: 3 * at["batch"] * (at["conditions"] + 1) + 5,
            {"batch*conditions": 3, "batch": 3, "1": 5},
        ),
        (("height", "width"), lambda at: 2 * at["width"] + 1, {"width": 2, "1": 1}),
        ((), lambda at: 9, {"1": 9}),
        (LLM, lambda at: 0, {}),
    ],
)
def test_a_size_is_found_from_its_values(
    axes: tuple[str, ...], value: Callable[[Mapping[str, int]], int], terms: dict[str, int]
) -> None:
    found = fit(axes, [value(place) for place in places(axes)])
    assert found is not None and found.terms == terms


@pytest.mark.parametrize(
    "value",
    [
        lambda at: at["past"] * at["sequence"],
        lambda at: at["sequence"] ** 2,
        lambda at: at["sequence"] // 2,
        lambda at: max(at["past"], 1000),
    ],
)
def test_what_is_no_such_sum_is_not_found(value: Callable[[Mapping[str, int]], int]) -> None:
    assert fit(LLM, [value(place) for place in places(LLM)]) is None


def test_every_axis_has_sizes() -> None:
    where = places(AXES)
    assert all(place.keys() == set(AXES) for place in where)
    assert len({*where[0].values(), *where[-1].values()}) == 2 * len(AXES)


def test_sizes_are_calculated_with() -> None:
    batch, past = Size({"batch": 1}), Size({"past": 1})
    assert (2 * (batch + past) * (batch + 3)).terms == {"batch*batch": 2, "batch*past": 2, "batch": 6, "past": 6}
    assert (batch + past - past) == batch and (batch * 0).terms == {} == (past - past).terms


def test_one_covers_another_where_no_term_is_smaller() -> None:
    small, large, other = Size({"past": 1}), Size({"past": 2, "1": 1}), Size({"batch": 1, "1": 5})
    assert large.covers(small) and large.covers(large) and not small.covers(large)
    assert not large.covers(other) and not other.covers(large)
