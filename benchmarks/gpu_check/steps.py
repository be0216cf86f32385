"""The steps of the check: what each is for, how long it may take, and where its function is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["cuda", "cpu"]
BUNDLES, SKELETONS, SITE = "bundles", "skeletons", "site"
"""Folders of a payload: bundles of the demo model, skeletons of the full-size model, packages that are brought."""


@dataclass(frozen=True)
class Setting:
    """What a step is told. On ``device`` "cpu" it takes its small form."""

    device: Device
    payload: Path

    @property
    def small(self) -> bool:
        """Whether sizes are those of a test."""
        return self.device == "cpu"


@dataclass(frozen=True)
class Step:
    """One step: ``target`` is a module beside this one and its function of (Setting, Recorder).

    ``budget`` is in seconds, on a GPU and the processor beside it. ``gpu_only`` has no small form for a CPU,
    ``anywhere`` runs where a GPU was wanted and there is none.
    """

    name: str
    budget: int
    target: str
    about: str
    gpu_only: bool = False
    anywhere: bool = False


STEPS = (
    Step("facts", 25, "facts:run", "card, driver, versions, memory, clocks", anywhere=True),
    Step("cuda", 30, "cuda:run", "the CUDA layer of the engines' backend", gpu_only=True),
    Step("roof", 30, "roof:run", "matrix products and copies at best; the largest layer by rows"),
    Step("attention", 60, "attention:run", "attention in the dialects' forms and fused, at true shapes"),
    Step("torch", 90, "torch_sides:run", "the full-size model in PyTorch, eager and with fused attention"),
    Step("torch-compile", 210, "torch_sides:run_compiled", "the same, compiled"),
    Step("tests", 60, "device_tests:run", "the tests that need a GPU"),
    Step("ort", 80, "ort:run", "the demo model on ONNX Runtime, against a CPU"),
    Step("full-cuda", 150, "full:run_cuda", "the full-size model on ONNX Runtime, graphs of the dialect cuda"),
    Step("full-gpu", 120, "full:run_gpu", "the same, graphs of the dialect gpu"),
)
BY_NAME = {step.name: step for step in STEPS}
# What needs nothing but the tree, and what needs the payload: two commands, where transfers are small.
UNPACKED = ("facts", "cuda", "roof", "attention", "torch", "torch-compile")
