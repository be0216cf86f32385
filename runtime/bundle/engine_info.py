"""What a manifest says of its engines: which library built them, for which GPU, with which shapes.

An engine is compiled code: it runs with the library that built it and on the GPUs it was built for, nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from xsam_edge.runtime.bundle.constraints import NOT_EMPTY, Count, Line, Name, PositiveInt, Sha256, matching

Flavour = Literal["tensorrt", "tensorrt-rtx"]

Capability = Annotated[str, matching("[0-9]+[.][0-9]+", "a compute capability such as 8.7")]

#: Profiles of the language model: what an image's first prompt takes, more of a prompt behind a past, a step of one
#: token or of a few that were looked up, several prompts behind one past.
FIRST, SUFFIX, DECODE, PROMPTS = "first", "suffix", "decode", "prompts"

#: The most tokens of a run of each of them, in all of its sequences. Longer first prompts go on as a suffix.
MOST_TOKENS: Mapping[str, int] = {FIRST: 4096, SUFFIX: 512, DECODE: 16, PROMPTS: 2048}

#: Of how many of these logits are asked for at most: of drafts, and of a block when a bundle is verified.
MOST_LOGITS: Mapping[str, int] = {FIRST: 256, SUFFIX: 256, DECODE: 16, PROMPTS: 512}

#: Flavour -> Python module.
MODULES: Mapping[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


@dataclass(frozen=True)
class EngineProfile:
    """One optimisation profile: the smallest, likeliest and largest size of each named axis of a graph's inputs."""

    name: Name
    axes: Mapping[str, tuple[Count, Count, Count]]

    def check(self) -> None:
        """Raise ValueError for sizes that do not ascend."""
        for axis, sizes in self.axes.items():
            if list(sizes) != sorted(sizes):
                raise ValueError(f"axes.{axis} is {sizes}; expected the smallest, likeliest and largest size in order")

    def holds(self, axes: Mapping[str, int]) -> bool:
        """Whether inputs whose axes have these sizes may run under this profile."""
        return all(self.axes[name][0] <= size <= self.axes[name][2] for name, size in axes.items())

    def shapes(self, shape: tuple[int | str, ...]) -> tuple[tuple[int, ...], ...]:
        """Smallest, likeliest and largest shape of a tensor whose shape names axes."""
        sizes = [self.axes[axis] if isinstance(axis, str) else (axis,) * 3 for axis in shape]
        return tuple(tuple(size[index] for size in sizes) for index in range(3))


@dataclass(frozen=True)
class KVCacheChoice:
    """How the language model's engine treats its cache, and why."""

    flavour: Literal["decomposed", "native"]
    reason: Line


@dataclass(frozen=True)
class ProfileFigures:
    """What the compiler said of a profile: bytes of the activations that a run of its largest shapes needs."""

    scratch_bytes: Count


@dataclass(frozen=True)
class EngineFigures:
    """What the compiler said of an engine: its size in bytes, and of each profile by name, where it told."""

    engine_bytes: Count
    profiles: Mapping[str, ProfileFigures]

    @property
    def scratch_bytes(self) -> int:
        """Of the profile that needs most; 0 where none is known."""
        return max((figures.scratch_bytes for figures in self.profiles.values()), default=0)


@dataclass(frozen=True)
class EngineInfo:
    """How the engines of a bundle were built.

    ``gpu``, ``driver`` and ``cuda`` describe the machine that built them and are "" where it had no GPU.
    ``compute_capabilities`` such as "8.7" are those that the engines run on.
    """

    flavour: Flavour
    version: Name
    target: Name
    compute_capabilities: Annotated[tuple[Capability, ...], NOT_EMPTY]
    gpu: Line
    driver: Line
    cuda: Line
    context: PositiveInt  # tokens that the language model's profiles hold
    kv_cache: KVCacheChoice
    options: Mapping[str, str | int | bool]  # of the builder
    profiles: Mapping[str, tuple[EngineProfile, ...]]  # graph -> profiles, in the engine's order
    memory: Mapping[str, Count]  # bytes per row of the plan that the target was checked against
    onnx: Mapping[str, Sha256]  # graph -> SHA-256 of the ONNX file that it was compiled from
    figures: Mapping[str, EngineFigures] = field(default_factory=dict)  # graph -> what its compiler said
