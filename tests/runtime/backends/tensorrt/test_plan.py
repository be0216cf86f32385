from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.cuda.pool import Pool, block_size
from xsam_edge.runtime.backends.tensorrt.plan import (
    BindingPlan,
    Captures,
    Copy,
    capture_key,
    choose_profile,
    is_capturable,
    merge,
    plan_bindings,
)
from xsam_edge.runtime.bundle.engine_info import EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec
from xsam_edge.runtime.errors import BackendError

SPEC = GraphSpec(
    "llm.engine",
    (
        TensorSpec("inputs_embeds", "float16", (1, "sequence", 128)),
        TensorSpec("past_key.0", "float16", (1, "past", 2, 64)),
    ),
    (TensorSpec("new_key.0", "float16", (1, "sequence", 2, 64)),),
)
PROFILES = (
    EngineProfile("prefill", {"sequence": (1, 64, 512), "past": (0, 0, 512)}),
    EngineProfile("decode", {"sequence": (1, 1, 1), "past": (0, 256, 512)}),
)
SCRATCH = 1 << 20
asked: list[tuple[int, int]] = []


def scratch(profile: int, nbytes: int) -> int:
    asked.append((profile, nbytes))
    return SCRATCH


def buffer(address: int, *shape: int) -> Buffer:
    return Buffer(address, shape, np.dtype("float16"), None)


def plan(sequence: int, past: int, new_key: int = 0x3000) -> BindingPlan:
    inputs = {"inputs_embeds": buffer(0x1000, 1, sequence, 128), "past_key.0": buffer(0x2000, 1, past, 2, 64)}
    return plan_bindings(SPEC, PROFILES, inputs, {"new_key.0": buffer(new_key, 1, sequence, 2, 64)}, scratch)


def test_every_tensor_is_bound_where_it_lies() -> None:
    asked.clear()
    made = plan(2, 7)
    assert made.addresses == {"inputs_embeds": 0x1000, "past_key.0": 0x2000, "new_key.0": 0x3000}
    assert made.shapes == {"inputs_embeds": (1, 2, 128), "past_key.0": (1, 7, 2, 64)}
    assert made.before == made.after == ()
    assert not asked


def test_a_step_of_one_token_is_staged_but_for_its_past() -> None:
    asked.clear()
    made = plan(1, 256, new_key=0x3000)
    assert made.addresses == {"inputs_embeds": SCRATCH, "past_key.0": 0x2000, "new_key.0": SCRATCH + 256}
    assert made.before == (Copy(SCRATCH, 0x1000, 256),)
    assert made.after == (Copy(0x3000, SCRATCH + 256, 256),)
    assert asked == [(1, 512)]
    assert capture_key(made, 1) == capture_key(plan(1, 256, new_key=0x3100), 1), "the next row of the cache"


def test_an_empty_past_gets_an_address_of_its_own() -> None:
    cache = 0x2000  # where the past would begin is where the first new rows go
    made = plan(5, 0, new_key=cache)
    assert made.addresses == {"inputs_embeds": 0x1000, "past_key.0": SCRATCH, "new_key.0": cache}
    assert made.before == made.after == ()


def test_rows_off_the_alignment_go_through_scratch_memory() -> None:
    asked.clear()
    inputs = {"inputs_embeds": buffer(0x1010, 1, 3, 128), "past_key.0": buffer(0x2000, 1, 0, 2, 64)}
    outputs = {"new_key.0": buffer(0x3080, 1, 3, 2, 64)}
    made = plan_bindings(SPEC, PROFILES, inputs, outputs, scratch)
    assert made.addresses == {"inputs_embeds": SCRATCH, "past_key.0": SCRATCH + 768, "new_key.0": SCRATCH + 1024}
    assert made.before == (Copy(SCRATCH, 0x1010, 768),)
    assert made.after == (Copy(0x3080, SCRATCH + 1024, 768),)
    assert asked == [(0, 768 + 256 + 768)]


@pytest.mark.parametrize(("stored", "kept"), [("int8", "int8"), ("float8_e4m3fn", "uint8")])
def test_keys_that_are_codes_are_bound_as_their_bytes(stored: str, kept: str) -> None:
    inputs, outputs = (
        tuple(replace(item, dtype=stored) if "key" in item.name else item for item in tensors)
        for tensors in (SPEC.inputs, SPEC.outputs)
    )
    spec = replace(SPEC, inputs=inputs, outputs=outputs)
    embeds = {"inputs_embeds": buffer(0x1000, 1, 3, 128)}
    past, new = (Buffer(0x2000, (1, rows, 2, 64), np.dtype(kept), None) for rows in (256, 3))
    made = plan_bindings(spec, PROFILES, {**embeds, "past_key.0": past}, {"new_key.0": new}, scratch)
    assert made.addresses["past_key.0"] == 0x2000
    floats = buffer(0x2000, 1, 256, 2, 64)
    with pytest.raises(BackendError, match=rf"past_key\.0 of llm\.engine is {stored}, its buffer float16"):
        plan_bindings(spec, PROFILES, {**embeds, "past_key.0": floats}, {"new_key.0": new}, scratch)


def test_copies_at_equal_distances_are_one() -> None:
    cache, other = object(), object()

    def copies(*places: tuple[int, int], nbytes: int = 8, owner: object = cache) -> list[tuple[object, Copy]]:
        return [(owner, Copy(target, source, nbytes)) for target, source in places]

    even = copies((100, 0), (300, 16), (500, 32))
    assert merge(even) == (Copy(100, 0, 8, 3, 200, 16),)
    assert merge(even + copies((700, 48), (800, 64))) == (Copy(100, 0, 8, 4, 200, 16), Copy(800, 64, 8))
    assert merge(copies((700, 48)) + even) == (Copy(700, 48, 8), Copy(100, 0, 8, 3, 200, 16))
    assert merge(even + copies((700, 48), nbytes=16)) == (Copy(100, 0, 8, 3, 200, 16), Copy(700, 48, 16))
    assert merge(even[:1] + copies((300, 16), owner=other)) == (Copy(100, 0, 8), Copy(300, 16, 8)), "two allocations"
    assert len(merge(copies((100, 0), (104, 16)))) == 2, "overlap"
    assert len(merge(copies((0, 0), (1 << 31, 16)))) == 2, "a pitch that CUDA does not take"
    assert merge([]) == ()


@pytest.mark.parametrize(("sequence", "past", "profile"), [(1, 0, 1), (1, 512, 1), (2, 3, 0), (512, 0, 0)])
def test_the_narrowest_profile_runs(sequence: int, past: int, profile: int) -> None:
    assert plan(sequence, past).profile == profile


def test_shapes_that_no_profile_holds() -> None:
    with pytest.raises(BackendError, match=r"built for sequence 1 to 512.*it got sequence 513, past 0; build the eng"):
        plan(513, 0)
    with pytest.raises(BackendError, match=r"past_key.0 of llm.engine has shape \(1, 3, 2, 65\), expected"):
        choose_profile(SPEC, PROFILES, {"inputs_embeds": (1, 1, 128), "past_key.0": (1, 3, 2, 65)})


def test_tensors_that_are_not_the_graphs() -> None:
    good = {"inputs_embeds": buffer(0x1000, 1, 1, 128), "past_key.0": buffer(0x2000, 1, 0, 2, 64)}
    outputs = {"new_key.0": buffer(0x3000, 1, 1, 2, 64)}
    with pytest.raises(BackendError, match=r"takes inputs_embeds, past_key\.0; bound are inputs_embeds"):
        plan_bindings(SPEC, PROFILES, {"inputs_embeds": good["inputs_embeds"]}, outputs, scratch)
    wide = Buffer(0x3000, (1, 1, 2, 64), np.dtype("float32"), None)
    with pytest.raises(BackendError, match=r"new_key\.0 of llm\.engine is float16, its buffer float32"):
        plan_bindings(SPEC, PROFILES, good, {"new_key.0": wide}, scratch)


def test_only_what_repeats_is_captured() -> None:
    decoder = GraphSpec("mask_decoder.engine", (TensorSpec("condition_embeds", "float32", (1, "conditions", 8)),), ())
    encoder = GraphSpec("image_encoder.engine", (TensorSpec("pixel_values", "float32", (1, 3, 8, 8)),), ())
    conditions = EngineProfile("only", {"conditions": (1, 2, 9)})
    assert is_capturable(encoder, EngineProfile("only", {})) and is_capturable(decoder, conditions)
    prefill, decode = PROFILES
    assert is_capturable(SPEC, decode)
    assert not is_capturable(SPEC, prefill)
    assert not is_capturable(SPEC, EngineProfile("prompts", {**prefill.axes, "batch": (2, 8, 8)}))


def test_a_capture_holds_for_equal_shapes_and_addresses() -> None:
    keys = {capture_key(plan(2, 3), 1), capture_key(plan(2, 3), 1)}
    assert len(keys) == 1
    keys |= {capture_key(plan(2, 4), 1), capture_key(plan(2, 3, 0x5000), 1), capture_key(plan(2, 3), 2)}
    assert len(keys) == 4


def test_runs_are_captured_when_they_come_back() -> None:
    dropped: list[Any] = []
    captures = Captures(dropped.append, limit=2)
    a, b, c = (capture_key(plan(2, 3, 0x3000 + 0x1000 * i), 1) for i in range(3))
    assert captures.next(a) == "run"
    assert captures.next(a) == "capture"
    captures.keep(a, "graph a")
    assert captures.next(a) == "replay" and captures.get(a) == "graph a"
    assert captures.next(b) == "run"
    assert captures.next(a) == "replay"
    assert captures.next(c) == "run"  # b was used less recently than a
    assert not dropped and captures.next(a) == "replay"
    assert captures.next(b) == "run"
    assert captures.next(c) == "run"
    assert dropped == ["graph a"]


def test_other_shapes_end_what_was_captured() -> None:
    dropped: list[Any] = []
    captures = Captures(dropped.append)
    key, other = capture_key(plan(2, 3), 1), capture_key(plan(2, 4), 1)
    captures.next(key)
    captures.keep(key, "graph")
    assert captures.next(other) == "run"
    assert dropped == ["graph"]
    assert captures.next(key) == "run"


@pytest.mark.parametrize(
    ("nbytes", "size"), [(0, 256), (1, 256), (256, 256), (257, 512), (1 << 20, 1 << 20), ((1 << 20) + 1, 2 << 20)]
)
def test_block_sizes(nbytes: int, size: int) -> None:
    assert block_size(nbytes) == size


def test_memory_is_reused_and_given_back() -> None:
    allocated, freed = iter(range(0, 1 << 20, 4096)), list[int]()
    pool = Pool(lambda _: next(allocated), freed.append, keep=1024)
    first, second = pool.take(1000), pool.take(1000)
    assert (first.address, second.address) == (0, 4096)
    del first
    third = pool.take(600)
    assert third.address == 0
    assert pool.take(300).address == 8192
    assert not freed, "512 bytes are kept"
    del second, third  # of 1024 each: neither fits beside them
    assert sorted(freed) == [0, 4096]
    assert pool.take(300).address == 8192
