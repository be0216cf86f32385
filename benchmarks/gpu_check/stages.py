"""What the full-size steps have in common: names of what they measure, and the sizes that stages are compared at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.measure import Distribution, Sample
from xsam_edge.benchmarks.watch import DECODE, PREFILL, SUFFIX
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.settings import ModelFacts
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.errors import BundleError

FIRST, NEXT, STEP = "first answer", "next prompt", "decode step"
GPU_MEMORY = "GPU memory in use"
COSTS_FILE = "costs.json"
# Tokens of a prompt by the stand-in tokenizer: before its image, and behind it with the answer that is given.
_BEFORE, _BEHIND = 2, 40


def stage(name: str) -> str:
    """What a stage's time is called."""
    return f"stage {name}"


@dataclass(frozen=True)
class Nominal:
    """Sizes of the stages with a prompt of usual length; those of a run differ from it by a few tokens."""

    image_tokens: int

    @classmethod
    def of(cls, model: ModelFacts) -> Nominal:
        """Of a bundle's model."""
        return cls(model.image_tokens)

    @property
    def prompt(self) -> int:
        """Tokens of a prompt with its image and its answer."""
        return _BEFORE + self.image_tokens + _BEHIND

    def axes(self) -> dict[str, tuple[str, dict[str, int]]]:
        """Graph and named axes of every stage."""
        past = self.prompt - _BEHIND

        def llm(count: int, before: int, rows: int) -> tuple[str, dict[str, int]]:
            sizes = {contract.SEQUENCE: count, contract.PAST: before, contract.ROWS: rows}
            return contract.LLM, {contract.BATCH: 1, **sizes}

        return {
            contract.IMAGE_ENCODER: (contract.IMAGE_ENCODER, {}),
            PREFILL: llm(self.prompt, 0, 0),
            SUFFIX: llm(_BEHIND, past, 0),
            DECODE: llm(1, self.prompt, 1),
            contract.MASK_DECODER: (contract.MASK_DECODER, {contract.BATCH: 1, contract.CONDITIONS: 1}),
        }


@dataclass(frozen=True)
class Work:
    """What one run of a stage has to compute and to move at least."""

    flops: int
    bytes: int


Costs = Mapping[str, Work]
"""The work of stages by their names."""


def write_costs(path: Path, costs: Costs) -> None:
    """Write costs beside a skeleton: of graphs with fused operators they cannot be counted."""
    path.write_text(json.dumps({name: asdict(work) for name, work in costs.items()}, indent=1) + "\n", encoding="utf-8")


def read_costs(path: Path) -> Costs:
    """What :func:`write_costs` wrote; of no file, nothing.

    Raises:
        BundleError: a damaged file.
    """
    if not path.is_file():
        return {}
    return read_json(path, dict[str, Work], BundleError, advice="make the skeleton again")


def report_answers(name: str, samples: Sequence[Sample], pictures: str, say: Recorder) -> None:
    """Median and spread of whole answers."""
    times = Distribution.of([sample.total_ms for sample in samples])
    say(name, times.p50_ms, "ms", f"p95 {times.p95_ms:.4g}, {times.n} times; {pictures}")
