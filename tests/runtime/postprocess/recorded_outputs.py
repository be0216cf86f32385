"""Recorded decoder outputs and the official post-processing results made from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime.image.resize import Frame, restore_mask

DATA = Path(__file__).parents[2] / "data"
THINGS = {"person", "car", "bus", "cat", "bench"}
CATEGORY_TASKS = ("img_genseg", "img_genseg_ins", "img_genseg_sem", "img_ovseg")


@dataclass(frozen=True, eq=False)
class Case:
    """One official result: ``variant`` is "" for the task's own options, else e.g. "pan_t0.0_o0.1_m0.2"."""

    name: str
    task: str
    variant: str
    aaai: bool
    class_logits: np.ndarray  # [Q, C + 1]
    mask_logits: np.ndarray  # [Q, h, w]
    frame: Frame
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]  # without the prefix
    classes: tuple[str, ...]
    prompt_mask: np.ndarray | None

    @property
    def inputs(self) -> tuple[np.ndarray, np.ndarray, Frame]:
        return self.class_logits, self.mask_logits, self.frame

    @property
    def things(self) -> set[int]:
        return {index for index, name in enumerate(self.classes) if name in THINGS}

    @property
    def stuff(self) -> set[int]:
        return set(range(len(self.classes))) - self.things

    def option(self, letter: str, default: float) -> float:
        """A number in the variant's name: "pan_t0.0_o0.1" has t = 0.0 and o = 0.1."""
        for part in self.variant.split("_"):
            if part[:1] == letter and part[1:2].isdigit():
                return float(part[1:])
        return default


@cache
def _cases() -> tuple[Case, ...]:
    return tuple(case for path in sorted(DATA.glob("golden-*/*img_*.npz")) for case in _read(path))


def _read(path: Path) -> Iterator[Case]:
    side = json.loads((path.parent / "config.json").read_text())["tiny"]["sam_vision"]["image_size"]
    with np.load(path) as archive:
        for mode in ("tensor", "predict"):
            masks = sorted(key for key in archive.files if key.startswith(f"{mode}/decoder.masks_lowres."))
            if not masks:
                continue
            meta = json.loads(archive[f"{mode}/meta"].tobytes())
            frame = Frame(tuple(meta["image_size"]), tuple(meta["scaled_size"]), (side, side))
            regions = archive[f"{mode}/vprompt_masks.0"] if f"{mode}/vprompt_masks.0" in archive.files else None
            for key in [key for key in meta if key.startswith("post") and isinstance(meta[key], dict)]:
                prefix = f"{mode}/{key}."
                yield Case(
                    name=f"{path.parent.name}/{path.stem}/{mode}/{key}",
                    task=meta["task"],
                    variant=key[5:-1],
                    aaai=meta["branch"] == "aaai",
                    class_logits=archive[f"{mode}/class_queries_logits"][0],
                    mask_logits=archive[masks[-1]][0],
                    frame=frame,
                    facts=meta[key],
                    arrays={name[len(prefix) :]: archive[name] for name in archive.files if name.startswith(prefix)},
                    classes=tuple(meta["classes"]),
                    prompt_mask=None if regions is None else restore_mask(regions[0], frame),
                )


def cases(*tasks: str, variant: str | None = None) -> list[Case]:
    """Results of these tasks; ``variant`` "" for their own options, or the start of a variant's name."""
    found = [case for case in _cases() if case.task in tasks]
    if variant is not None:
        found = [case for case in found if (case.variant.startswith(variant) if variant else not case.variant)]
    assert found, f"nothing recorded for {tasks}, {variant}"
    return found
