"""The demo model's sizes and how it is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from xsam_edge.calibration.shapes.composition import GROUNDS, SHAPES

THINGS, STUFF = SHAPES, GROUNDS
"""The categories of a panoptic prompt, in the order in which the evaluation gives them."""


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters. Rates are per step at the peak; ``minutes`` is the budget that the schedule is spread over."""

    minutes: float = 85.0
    steps: int | None = None  # ends after so many steps instead, with a schedule over steps
    workers: int = 2  # processes of one thread each: on few cores faster than one process of many threads
    batch: int = 8  # images per worker and step
    first_seed: int = 1_000_000  # of training scenes, each drawn once; other splits lie below
    matrix_rate: float = 3e-3  # Muon, for matrices of linear layers
    other_rate: float = 1.5e-3  # AdamW, for everything else
    weight_decay: float = 0.02
    warmup_steps: int = 150
    cooldown: float = 0.5  # share of the budget over which the rates fall to zero
    clip: float = 1.0
    # Two lessons: what things are, and telling them apart.
    second_lesson: float = 0.22  # share of the budget after which it begins
    refer_asks: tuple[int, int] = (2, 3)  # phrases and sentences among a picture's exercises, without opposites
    kinds: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {  # how often a phrase of each kind is asked for, where the scene has one
            "category": (0.2, 0.07),
            "colour": (0.1, 0.05),
            "shape": (0.2, 0.08),
            "size": (0.1, 0.08),
            "position": (0.35, 0.26),
            "relation": (0.0, 0.26),
            "extreme": (0.05, 0.07),
            "reason": (0.0, 0.06),
            "absent": (0.0, 0.09),
            "absent reason": (0.0, 0.06),
        }
    )
    others: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {  # the chance of each other exercise
            "categories": (1.0, 1.0),
            "interactive": (0.3, 0.3),
            "similar": (0.3, 0.35),
            "caption": (0.05, 0.4),
            "chat": (0.0, 0.1),
        }
    )
    class_weight: float = 3.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    background_weight: float = 0.1
    language_weight: float = 1.5
    position_weight: float = 1.0  # of what the heads read off tokens
    seed: int = 0
    validation_scenes: int = 64  # per worker
    report_minutes: float = 6.0  # between validations, each of which also writes the weights
