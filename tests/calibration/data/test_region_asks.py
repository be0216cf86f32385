import numpy as np
import pytest

from tests.scripted import SIZE, block, lazy
from xsam_edge.calibration.data.region_asks import Instance, prompt_mask, region_asks
from xsam_edge.calibration.data.samples import Regions

CAT, DOG, BIG_DOG = block(0, 0, 3, 3), block(0, 5, 2, 8), block(4, 0, 8, 10)


def test_asks() -> None:
    instances = [
        Instance(lazy(CAT), 4, False),
        Instance(lazy(np.zeros(SIZE, bool)), 4, False),
        Instance(lazy(DOG), 2, False),
        Instance(lazy(BIG_DOG), 2, False),
        Instance(lazy(~CAT), 4, True),
        Instance(lazy(~CAT), 7, True),
    ]
    *single, similar = region_asks(instances)
    assert all(isinstance(ask, Regions) and not ask.similar for ask in single)
    assert [ask.kind for ask in single] == ["box", "point", "mask"]
    assert all(
        np.array_equal(ask.segments[0].mask(), mask) for ask, mask in zip(single, (CAT, DOG, BIG_DOG), strict=True)
    )
    assert isinstance(similar, Regions) and similar.similar
    assert all(np.array_equal(prompt(), mask) for prompt, mask in zip(similar.prompts, (CAT, BIG_DOG), strict=True))
    assert [(item.label, item.is_crowd) for item in similar.segments] == [
        (0, False),
        (1, False),
        (1, False),
        (0, True),
    ], "an empty mask and a crowd of nothing that is asked for are left out"


def test_crowds_alone_ask_nothing() -> None:
    assert region_asks([Instance(lazy(CAT), 0, True)]) == []


@pytest.mark.parametrize("mask", [CAT, block(2, 3, 3, 4), block(0, 0, 8, 2) | block(6, 0, 8, 10)])
def test_prompts_point_at_their_object(mask: np.ndarray) -> None:
    rows, columns = np.nonzero(mask)
    box = prompt_mask("box", lazy(mask))
    assert np.array_equal(np.argwhere(box)[[0, -1]], [[rows.min(), columns.min()], [rows.max(), columns.max()]])
    assert box.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    point = prompt_mask("point", lazy(mask))
    assert (point & mask).any()
    assert np.array_equal(prompt_mask("mask", lazy(mask)), mask)
