"""What is bound where, which profile runs, in which stream, what is replayed: plans, made without a GPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any, Literal

import numpy as np

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import memory_type
from xsam_edge.runtime.bundle.engine_info import DECODE, FIRST, SUFFIX, EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError

Shapes = Mapping[str, tuple[int, ...]]

#: Bytes that the address of every bound tensor is a multiple of (``IExecutionContext::setTensorAddress``).
ALIGNMENT = 256

#: Graph -> stream. The next image is encoded while the language model still answers about the current one; the mask
#: decoder works on what the language model said.
STREAMS: Mapping[str, int] = {
    contract.PIXELS: 1,
    contract.IMAGE_ENCODER: 1,
    contract.LLM: 0,
    contract.MASK_DECODER: 0,
}

#: Rows that a past is rounded up to where runs repeat. The first two runs at a length are not replayed, which is little
#: of 256; and the rows that are read in vain, 128 on average, are 50 MB of Phi-3 in FP16, whose weights, read at each
#: run, are 8 GB.
PAST_STEP = 256

#: Rows that new ones behind a past are rounded up to.
ROW_STEPS = (1, 16, 32, 64, 128, 256, 512)

# ``cudaDeviceProp.memPitch``, which is this on every GPU.
_LONGEST_PITCH = (1 << 31) - 1

# Axes that are as good as never the same twice, unless rows and past are padded.
_RESTLESS = (contract.SEQUENCE, contract.PAST)


@dataclass(frozen=True)
class Copy:
    """``rows`` times ``nbytes`` from one place of the device to another; a pitch is the distance of two rows."""

    target: int
    source: int
    nbytes: int
    rows: int = 1
    target_pitch: int = 0
    source_pitch: int = 0


@dataclass(frozen=True)
class BindingPlan:
    """One run of an engine: input shapes, an address for every tensor, and what is copied before and after it."""

    profile: int
    shapes: Shapes
    addresses: Mapping[str, int]
    before: tuple[Copy, ...] = ()
    after: tuple[Copy, ...] = ()


def plan_bindings(
    spec: GraphSpec,
    profiles: Sequence[EngineProfile],
    inputs: Mapping[str, Buffer],
    outputs: Mapping[str, Buffer],
    scratch: Callable[[int, int], int],
) -> BindingPlan:
    """Bind every tensor of a graph to its buffer, wherever TensorRT takes that address.

    An empty tensor (a past of no tokens) is bound to scratch memory, since every tensor needs an address of its own. A
    buffer whose address is not aligned is copied from or to scratch memory: rows of a cache behind the first are
    aligned where heads × head size × bytes is a multiple of 256, as in every full-size model.

    A run that repeats finds everything but its past in scratch memory, so that it may be replayed: what it takes is
    copied there, and what it gives copied to where it belongs. These are a few rows, and those of all layers are one
    copy; the past is bound where it lies, and may reach over the rows that new ones are copied to afterwards.

    Args:
        spec: the graph.
        profiles: those of its engine, in the engine's order.
        inputs: a buffer for each of its inputs.
        outputs: a buffer for each of its outputs.
        scratch: gives the address of a number of bytes, the second argument, for runs of a profile, the first.

    Raises:
        BackendError: a buffer is missing or of another dtype, or no profile holds the shapes.
    """
    for tensors, buffers in ((spec.inputs, inputs), (spec.outputs, outputs)):
        if set(buffers) != {tensor.name for tensor in tensors}:
            raise BackendError(
                f"{spec.file} takes {', '.join(tensor.name for tensor in tensors)}; bound are {', '.join(buffers)}"
            )
        for tensor in tensors:
            if (found := _type_name(buffers[tensor.name].dtype)) != memory_type(tensor.dtype):
                raise BackendError(f"{tensor.name} of {spec.file} is {tensor.dtype}, its buffer {found}")
    shapes = {name: buffer.shape for name, buffer in inputs.items()}
    profile = choose_profile(spec, profiles, shapes)
    staged_run = runs_repeat(profiles[profile])
    bound = {**inputs, **outputs}
    staged = [
        tensor.name
        for tensor in (*spec.inputs, *spec.outputs)
        if (staged_run and contract.PAST not in tensor.shape) or _needs_scratch(bound[tensor.name])
    ]
    addresses = {name: buffer.address for name, buffer in bound.items()}
    before: list[tuple[object, Copy]] = []
    after: list[tuple[object, Copy]] = []
    place = scratch(profile, sum(aligned(bound[name].nbytes) for name in staged)) if staged else 0
    for name in staged:
        buffer, addresses[name] = bound[name], place
        if buffer.nbytes and name in inputs:
            before.append((buffer.owner, Copy(place, buffer.address, buffer.nbytes)))
        elif buffer.nbytes:
            after.append((buffer.owner, Copy(buffer.address, place, buffer.nbytes)))
        place += aligned(buffer.nbytes)
    return BindingPlan(profile, shapes, addresses, merge(before), merge(after))


def merge(copies: Sequence[tuple[object, Copy]]) -> tuple[Copy, ...]:
    """Join copies of equal size that follow each other at equal distances, each with the owner of its memory.

    Only copies within one owner's memory are joined: CUDA refuses a copy that spans two allocations.
    """
    merged: list[Copy] = []
    last: object = None
    for owner, copy in copies:
        longer = _join(merged[-1], copy) if merged and owner is last else None
        if longer is None:
            merged.append(copy)
        else:
            merged[-1] = longer
        last = owner
    return tuple(merged)


def _join(run: Copy, copy: Copy) -> Copy | None:
    done = run.rows - 1
    pitches = (
        copy.target - run.target - done * run.target_pitch,
        copy.source - run.source - done * run.source_pitch,
    )
    even = not done or pitches == (run.target_pitch, run.source_pitch)
    if copy.nbytes != run.nbytes or not even or not all(run.nbytes <= pitch <= _LONGEST_PITCH for pitch in pitches):
        return None
    return Copy(run.target, run.source, run.nbytes, run.rows + 1, *pitches)


def choose_profile(spec: GraphSpec, profiles: Sequence[EngineProfile], shapes: Shapes) -> int:
    """The narrowest profile that holds the shapes: the one of fewest new tokens, of fewest conditions.

    Raises:
        BackendError: none does, or a tensor has another rank or fixed size than the graph's.
    """
    axes: dict[str, int] = {}
    for tensor in spec.inputs:
        shape = shapes[tensor.name]
        sizes = [
            axes.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(tensor.shape, shape, strict=False)
        ]
        if len(shape) != len(tensor.shape) or list(shape) != sizes:
            raise BackendError(f"{tensor.name} of {spec.file} has shape {shape}, expected {tensor.shape} with {axes}")
    holding = [index for index, profile in enumerate(profiles) if profile.holds(axes)]
    if not holding:
        limits = "; or ".join(
            ", ".join(f"{axis} {low} to {high}" for axis, (low, _, high) in profile.axes.items())
            for profile in profiles
        )
        raise BackendError(
            f"{spec.file} was built for {limits}; it got {', '.join(f'{axis} {size}' for axis, size in axes.items())}; "
            "build the engines for a longer --context, or ask for less at once"
        )
    return min(holding, key=lambda index: _width(profiles[index]))


def _width(profile: EngineProfile) -> tuple[int, int]:
    most = {axis: high for axis, (_, _, high) in profile.axes.items()}
    return most.get(contract.SEQUENCE, 0), prod(max(1, high) for high in most.values())


@cache
def _type_name(dtype: np.dtype[Any]) -> str:
    """``dtype.name``, which numpy makes anew each time: with 32 layers 0.4 ms of each step."""
    name: str = dtype.name
    return name


def _needs_scratch(buffer: Buffer) -> bool:
    return buffer.nbytes == 0 or buffer.address % ALIGNMENT != 0


def aligned(nbytes: int) -> int:
    """Bytes up to the next address that a tensor may have; never 0."""
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT


def runs_repeat(profile: EngineProfile) -> bool:
    """Whether a profile of the language model gets shapes of few kinds: rows and past are rounded up."""
    return profile.name in (SUFFIX, DECODE)


def row_steps(profiles: Sequence[EngineProfile]) -> tuple[int, ...]:
    """Rows that new ones behind a past are rounded up to, ascending; more than the last run in parts.

    Engines that have no profile for a suffix take any number, and steps of one token have a padded past.
    """
    suffix = _profile(profiles, SUFFIX)
    if suffix is None:
        return (1,)
    most = suffix.axes[contract.SEQUENCE][2]
    return (*(step for step in ROW_STEPS if step < most), most)


def first_rows(profiles: Sequence[EngineProfile]) -> int | None:
    """The most tokens of a run without a past; None where only the context bounds them."""
    first = _profile(profiles, FIRST)
    return None if first is None else first.axes[contract.SEQUENCE][2]


def _profile(profiles: Sequence[EngineProfile], name: str) -> EngineProfile | None:
    return next((profile for profile in profiles if profile.name == name), None)


def is_capturable(spec: GraphSpec, profile: EngineProfile) -> bool:
    """Whether a graph's runs in a profile repeat, so that capturing them as a CUDA graph pays.

    The image encoder's shapes are fixed, the mask decoder has few numbers of conditions, and new rows and the past
    behind which they stand have few lengths. First prompts and batches differ in length.
    """
    axes = {axis for tensor in spec.inputs for axis in tensor.shape}
    return axes.isdisjoint(_RESTLESS) or runs_repeat(profile)


def capture_key(plan: BindingPlan, activations: int) -> tuple[Any, ...]:
    """What a captured graph has baked in, profile and shapes first: equal keys may be replayed for each other."""
    return plan.profile, tuple(sorted(plan.shapes.items())), tuple(sorted(plan.addresses.items())), activations


@dataclass
class Captures:
    """Captured graphs by key, the last used ones. ``destroy`` is called with each one that is dropped.

    A key's first run is a plain one: an engine settles on shapes only then, and most keys never come back. Runs of
    other shapes leave other values in a context's own memory, so that what was captured before them is dropped.
    """

    destroy: Callable[[Any], None]
    limit: int = 8
    _shapes: tuple[Any, ...] | None = None
    _seen: OrderedDict[tuple[Any, ...], Any] = field(default_factory=OrderedDict)

    def next(self, key: tuple[Any, ...]) -> Literal["run", "capture", "replay"]:
        """What to do with a run of this key."""
        if key[:2] != self._shapes:
            self.clear()
            self._shapes = key[:2]
        if key not in self._seen:
            self.keep(key, None)
            return "run"
        self._seen.move_to_end(key)
        return "capture" if self._seen[key] is None else "replay"

    def keep(self, key: tuple[Any, ...], executable: Any) -> None:
        """Keep what was captured for a key."""
        self._seen[key] = executable
        self._seen.move_to_end(key)
        if len(self._seen) > self.limit:
            self._drop()

    def get(self, key: tuple[Any, ...]) -> Any:
        """What was kept for a key."""
        return self._seen[key]

    def clear(self) -> None:
        """Drop everything."""
        while self._seen:
            self._drop()

    def _drop(self) -> None:
        _, executable = self._seen.popitem(last=False)
        if executable is not None:
            self.destroy(executable)
