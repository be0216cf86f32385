"""Runs of an engine on a library that copies, on a stand-in of CUDA and on a real GPU where there is one."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

from tests.runtime.backends.cuda.test_tensors import real_cudart
from tests.runtime.backends.tensorrt.fake_cuda import FakeCudart
from tests.runtime.backends.tensorrt.stand_in import WIDTH, Machine
from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.errors import BackendError


@pytest.fixture(
    params=[pytest.param(FakeCudart, id="fake"), pytest.param(real_cudart, id="gpu", marks=pytest.mark.gpu)]
)
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param())


def rows(count: int, first: int = 0) -> np.ndarray:
    """Rows that tell their place."""
    return np.arange(first * WIDTH, (first + count) * WIDTH, dtype=np.float32).reshape(1, count, WIDTH)


def run(
    machine: Machine, graph: Any, cache: Buffer, past: int, new: np.ndarray, padded: int | None = None
) -> np.ndarray:
    """Write new rows behind a past, as the chain does; returns what the graph saw at the end of the past."""
    count = new.shape[1]
    seen = machine.tensors.allocate((1, 1, WIDTH), "float32")
    inputs = {contract.INPUTS_EMBEDS: machine.tensors.upload(new), "past": cache.tokens(0, padded or past)}
    graph.run(inputs, {"new": cache.tokens(past, past + count), "seen": seen})
    return machine.tensors.download(seen)


def test_rows_go_where_they_belong(machine: Machine) -> None:
    graph, cache = machine.graph(), machine.tensors.allocate((1, 600, WIDTH), "float32")
    run(machine, graph, cache, 0, rows(7))
    for past in range(7, 12):  # steps: what they give is staged
        seen = run(machine, graph, cache, past, rows(1, past))
        np.testing.assert_array_equal(seen, rows(1, past - 1))
    np.testing.assert_array_equal(machine.tensors.download(cache.tokens(0, 12)), rows(12))


def test_rows_at_any_address(machine: Machine) -> None:
    """A view that is not aligned is copied to memory that is."""
    graph = machine.graph()
    narrow = machine.tensors.allocate((1, 1 + 8 * WIDTH), "float32")
    view = Buffer(narrow.address + 4, (1, 8, WIDTH), np.dtype("float32"), narrow.owner)
    assert view.address % 256
    run(machine, graph, view, 0, rows(5))
    np.testing.assert_array_equal(machine.tensors.download(view.tokens(0, 5)), rows(5))


def test_steps_are_replayed_with_what_is_new(machine: Machine) -> None:
    graph, (cache,) = machine.graph(), machine.tensors.allocate_alike(1, (1, 600, WIDTH), "float32")
    run(machine, graph, cache, 0, rows(3))
    counts = []
    for past in range(3, 9):
        before = machine.library.executions
        seen = run(machine, graph, cache, past, rows(1, past), padded=PAST_STEP)
        counts.append(machine.library.executions - before)
        assert not seen.any(), "the padding's last row"
    assert counts == [1, 1, 0, 0, 0, 0], "run, captured, then replayed without the library"
    np.testing.assert_array_equal(machine.tensors.download(cache.tokens(0, 9)), rows(9))
    run(machine, graph, cache, 9, rows(1, 9), padded=2 * PAST_STEP)
    assert machine.library.executions > 2, "another length is none of those that were captured"


def test_what_a_replay_reads_lives(machine: Machine) -> None:
    """Uploads of a step are given back while the next one comes."""
    graph, (cache,) = machine.graph(), machine.tensors.allocate_alike(1, (1, 600, WIDTH), "float32")
    gc.collect()
    gc.freeze()  # what the session holds is not looked through at every step
    try:
        for past in range(1, 40):
            run(machine, graph, cache, past, rows(1, past), padded=PAST_STEP)
            gc.collect()
            machine.tensors.upload(np.full((1, 1, WIDTH), np.nan, np.float32))
    finally:
        gc.unfreeze()
    np.testing.assert_array_equal(machine.tensors.download(cache.tokens(1, 40)), rows(39, 1))


def test_two_streams_from_two_threads(machine: Machine) -> None:
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        graph, (cache,) = machine.graph(), machine.tensors.allocate_alike(1, (1, 600, WIDTH), "float32")
        run(machine, graph, cache, 0, rows(3, 1000 * number))
        for past in range(3, 30):
            run(machine, graph, cache, past, rows(1, 1000 * number + past), padded=PAST_STEP)
        results[number] = machine.tensors.download(cache.tokens(0, 30))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        np.testing.assert_array_equal(results[number], rows(30, 1000 * number))


def test_shapes_outside_of_every_profile(machine: Machine) -> None:
    graph, cache = machine.graph(), machine.tensors.allocate((1, 2000, WIDTH), "float32")
    with pytest.raises(BackendError, match=r"built for batch 1 to 1.*it got batch 1, sequence 1, past 1100"):
        run(machine, graph, cache, 1100, rows(1))
    run(machine, graph, cache, 0, rows(2))
    np.testing.assert_array_equal(machine.tensors.download(cache.tokens(0, 2)), rows(2))
