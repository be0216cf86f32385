"""Runs of the language model that are recorded: where their rows come from is told by the memory of a cache."""

from __future__ import annotations

import numpy as np
import pytest

from xsam_edge.calibration.staged.calls import _read_numbers, _write_numbers


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_numbers_are_kept_in_keys_of_any_type(dtype: str) -> None:
    cache = np.zeros((1, 3000, 2, 8), dtype)
    slots = cache[:, 5:2905].reshape(2, 1450, 2, 8)
    assert np.shares_memory(slots, cache)
    _write_numbers(slots, 70_000)
    found = _read_numbers(cache[:, 5:2905])
    assert found.dtype == np.int64 and found.tolist() == [[70_000, row] for row in range(2900)]
    assert _read_numbers(cache[:, :0]).shape == (0, 2)
    assert not cache[:, :5].any() and not cache[:, 2905:].any()
