from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.ros.parameters import DESCRIPTIONS, Parameters


def test_each_has_a_description() -> None:
    assert list(DESCRIPTIONS) == [field.name for field in fields(Parameters)]


def test_those_of_others_are_left_alone() -> None:
    parameters = Parameters.of({"prompt": "the cup", "use_sim_time": True, "deadline": 250})
    assert parameters == Parameters(prompt="the cup", deadline=250.0)
    assert isinstance(parameters.deadline, float), "a whole number is a number of milliseconds too"
    assert Parameters.of(parameters.values()) == parameters


def test_a_range_of_depth() -> None:
    assert Parameters().depth_range is None
    assert Parameters(depth_low=300, depth_high=4000).depth_range == (300, 4000)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"device": "tpu"}, "device is 'tpu'; choose 'cpu'"),
        ({"qos": "best"}, "qos is 'best'; choose 'sensor_data' or 'reliable'"),
        ({"transport": ""}, "choose 'both' or 'raw' or 'compressed'"),
        ({"age_from": 3}, "choose 'stamp' or 'arrival'"),
        ({"verify": "some"}, "choose 'full'"),
        ({"deadline": -1}, "deadline is -1; expected milliseconds from 0"),
        ({"deadline": float("nan")}, "expected milliseconds"),
        ({"deadline": "fast"}, "deadline is 'fast'; expected milliseconds"),
        ({"deadline": True}, "expected milliseconds"),
        ({"prompt": 5}, "prompt is 5; expected text"),
        ({"bundle": 7}, "bundle is 7; expected text"),
        ({"autostart": 1}, "autostart is 1; expected true or false"),
        ({"overlap": "yes"}, "expected true or false"),
        ({"track": 1}, "expected true or false"),
        ({"threads": -1}, "threads"),
        ({"threads": 2, "device": "cuda"}, "leave threads at 0"),
        ({"context": 1.5}, "context is 1.5; expected a whole number"),
        ({"overlay_quality": 0}, "from 1 to 95"),
        ({"overlay_max_side": -3}, "expected a whole number from 0"),
        ({"depth_high": -1}, "depth_high is -1; expected a finite number from 0 to 65535"),
        ({"depth_low": 500, "depth_high": 400}, "depth_high is 400, and depth_low 500; set both at once"),
        ({"silent_after": 0}, "above 0"),
        ({"diagnostics_period": 0.0}, "from 0.05"),
    ],
)
def test_what_makes_no_sense(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        Parameters.of(values)
    assert said in str(error.value)
