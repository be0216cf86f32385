from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.tracking.options import TrackerOptions


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"high": 1.5}, "high is 1.5; expected a number from 0 to 1"),
        ({"low": -0.1}, "low is -0.1"),
        ({"begin": float("nan")}, "begin is nan"),
        ({"overlap": "much"}, "overlap is 'much'"),
        ({"low_overlap": None}, "low_overlap is None"),
        ({"low": 0.6}, "low 0.6, high 0.5, begin 0.6; expected low <= high <= begin"),
        ({"high": 0.7}, "low 0.1, high 0.7, begin 0.6; expected low <= high <= begin"),
        ({"search": -1}, "search is -1"),
        ({"confirm": 0}, "confirm is 0; expected a whole number from 1 on"),
        ({"confirm": 1.5}, "confirm is 1.5"),
        ({"keep": -1}, "keep is -1; expected seconds from 0 to 3600"),
        ({"keep": float("inf")}, "keep is inf"),
        ({"rate": 0}, "rate is 0; expected frames a second from 0.001 to 10000"),
        ({"by_label": "no"}, "by_label is 'no'; expected True or False"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        TrackerOptions(**given)
    assert message in str(error.value)


def test_scalars_of_numpy_are_numbers() -> None:
    options = TrackerOptions(high=np.float32(0.5), confirm=np.int64(3), by_label=np.bool_(False))
    assert [type(value) for value in (options.high, options.confirm, options.by_label)] == [float, int, bool]
    assert TrackerOptions(low=0.5) == TrackerOptions(low=0.5, high=0.5)
