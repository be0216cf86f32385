from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.chain.padding import Padding
from tests.samples import SETTINGS
from xsam_edge.runtime.backends.base import Buffer, output_shapes
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec
from xsam_edge.runtime.chain.kv_cache import KVCache, PadsPasts
from xsam_edge.runtime.errors import ContextLengthError


@pytest.fixture
def cache() -> KVCache:
    return KVCache(OnnxRuntimeBackend("cpu"), SETTINGS.model, 10, "float32")


def test_slots_follow_the_past_in_the_same_memory(cache: KVCache) -> None:
    key = contract.past_key(0)
    base = cache.past()[key].address
    row = SETTINGS.model.num_kv_heads * SETTINGS.model.head_dim * 4
    assert cache.past()[key].shape == (1, 0, 1, 4)
    assert cache.slots(3)[contract.new_key(0)].address == base
    cache.advance(3)
    assert cache.past()[key].shape == (1, 3, 1, 4)
    assert cache.past()[key].address == base
    assert cache.slots(2)[contract.new_key(0)].address == base + 3 * row


def test_rolling_back_moves_nothing(cache: KVCache) -> None:
    cache.advance(6)
    before = cache.past()[contract.past_value(0)]
    np.asarray(before.owner)[...] = 7
    cache.truncate(2)
    after = cache.past()[contract.past_value(0)]
    assert (after.address, after.shape[1]) == (before.address, 2)
    with pytest.raises(ValueError, match="cannot truncate"):
        cache.truncate(3)


def test_a_full_cache_says_so(cache: KVCache) -> None:
    cache.advance(8)
    with pytest.raises(ContextLengthError, match="11 tokens do not fit the context of 10"):
        cache.slots(3)


def test_a_past_is_padded_where_the_backend_gains_by_it(cache: KVCache) -> None:
    def rows(cache: KVCache, padded: bool) -> int:
        (rows,) = {buffer.shape[1] for buffer in cache.past(padded=padded).values()}
        return rows

    assert isinstance(Padding("cpu"), PadsPasts) and not isinstance(OnnxRuntimeBackend("cpu"), PadsPasts)
    padding = KVCache(Padding("cpu"), SETTINGS.model, 10, "float32")
    for length, padded in ((0, 0), (1, 4), (4, 4), (5, 8), (8, 8), (9, 10), (10, 10)):
        padding.advance(length - padding.length)
        assert (rows(padding, False), rows(padding, True)) == (length, padded)
        assert padding.past(padded=True)[contract.past_key(0)].address == padding._keys[0].address
    cache.advance(5)
    assert rows(cache, True) == 5
    assert not any(np.asarray(buffer.owner).any() for buffer in padding._keys + padding._values)


def test_rows_are_padded_as_far_as_there_is_room(cache: KVCache) -> None:
    padding = KVCache(Padding("cpu"), SETTINGS.model, 10, "float32")
    assert padding.most_rows == 8 and cache.most_rows is None
    for count, past, rows in (
        (1, 0, 1),
        (1, 9, 1),
        (2, 0, 4),
        (4, 6, 4),
        (3, 7, 3),
        (5, 2, 8),
        (5, 3, 5),
        (9, 0, 9),  # no room for a whole group of them
        (9, 1, None),
    ):
        assert padding.padded_rows(count, past) == rows, (count, past)
        assert cache.padded_rows(count, past) is None
    steps_only = Padding("cpu")
    steps_only.row_steps = (1,)
    only = KVCache(steps_only, SETTINGS.model, 10, "float32")
    assert (only.padded_rows(1, 3), only.padded_rows(2, 3), only.most_rows) == (1, None, None)
    rows = padding._pads.upload(np.ones((1, 3, 2), np.float32))
    assert np.asarray(padding.pad_rows(rows, 4).owner).tolist() == [[[1, 1]] * 3 + [[0, 0]]]
    assert padding.pad_rows(rows, 3) is rows


def test_padding_holds_nothing_of_other_prompts() -> None:
    cache = KVCache(Padding("cpu"), SETTINGS.model, 10, "float32")
    buffers = cache._keys + cache._values

    def write(count: int, batch: int = 1) -> None:
        start = cache.length
        cache.slots(count, batch)
        for buffer in buffers:
            buffer.owner[0, start : start + batch * count] = np.nan if batch > 1 else start + 1
        if batch == 1:
            cache.advance(count)

    def rows() -> list[list[float]]:
        return [buffer.owner[0, :, 0, 0].tolist() for buffer in buffers]

    write(3)
    write(4)
    cache.truncate(3)
    write(2, batch=3)
    cache.past()
    assert np.isnan(rows()[0][3:9]).all(), "an exact past hides nothing"
    cache.past(padded=True)
    assert rows() == [[1] * 3 + [0] * 7] * len(buffers)
    for count in (1, 1, 3):
        cache.past(padded=True)
        write(count)
    cache.truncate(6)
    cache.past(padded=True)
    assert rows() == [[1] * 3 + [4, 5, 6] + [0] * 4] * len(buffers)


def test_views_stay_inside() -> None:
    buffer = Buffer(1000, (1, 4, 2), np.dtype(np.float16), None)
    assert buffer.tokens(1, 3) == Buffer(1004, (1, 2, 2), np.dtype(np.float16), None)
    for start, stop in ((-1, 2), (3, 2), (0, 5)):
        with pytest.raises(IndexError):
            buffer.tokens(start, stop)


def test_output_shapes_resolve_named_axes() -> None:
    spec = GraphSpec(
        "g",
        (TensorSpec("a", "float32", (1, "sequence")), TensorSpec("b", "float32", (1, "conditions", 4))),
        (TensorSpec("c", "float32", ("sequence", "classes")),),
    )
    assert output_shapes(spec, {"a": (1, 5), "b": (1, 2, 4)}) == {"c": (5, 3)}
    with pytest.raises(ValueError, match="b has shape"):
        output_shapes(spec, {"a": (1, 5), "b": (1, 2, 5)})
    with pytest.raises(ValueError, match="inputs"):
        output_shapes(spec, {"a": (1, 5)})
