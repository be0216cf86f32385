"""What a model finds in the frames of moving scenes, kept in a file, so that trackers are compared without a model.

A line of the file is a scene: ``{"seed", "size", "length", "threshold", "frames": [[{"label", "score", "mask"}]]}``,
with places in ``SHAPES`` and COCO's run lengths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.shapes.composition import SHAPES
from xsam_edge.calibration.shapes.motion import LENGTH, RATE, MovingScene, SeenThing, move
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Tally, silent
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.segment import Segment

SIZE = 192
"""Pixels along an edge of a frame, as of still scenes."""

THRESHOLD = 0.05
"""The least score that is kept; trackers choose among what is there."""


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in the scene of a seed: the segments of each frame."""

    seed: int
    frames: tuple[tuple[Segment, ...], ...]


def find(model: XSam, scene: MovingScene) -> Iterator[tuple[Segment, ...]]:
    """The shapes that a model sees in each frame of a scene, which it is given one by one."""
    for drawing, _ in scene.frames(SIZE):
        with model.look(drawing.pixels) as look:
            yield look.categories(SHAPES, instances=True, threshold=THRESHOLD).segments


def truth(scene: MovingScene) -> list[tuple[SeenThing, ...]]:
    """What is seen in each frame."""
    return [seen for _, seen in scene.frames(SIZE)]


def true_segments(seen: Sequence[SeenThing]) -> tuple[Segment, ...]:
    """What a perfect model would find in a frame."""
    there = (thing for thing in seen if thing.counts)
    return tuple(Segment.from_mask(thing.mask, 1.0, SHAPES[thing.label], thing.label) for thing in there)


def write(path: Path, model: XSam, seeds: Sequence[int], length: int = LENGTH, progress: Progress = silent) -> None:
    """Ask a model about the scenes of some seeds, and write what it finds.

    Raises FileExistsError where the file exists.
    """
    asked = Tally(progress, "ask", len(seeds) * length, "frames")
    part = path.with_name(f".{path.name}.partial")
    if path.exists():
        raise FileExistsError(path)
    with part.open("w", encoding="utf-8") as file:
        for seed in seeds:
            frames = []
            for segments in find(model, move(seed, length)):
                frames.append([_entry(segment) for segment in segments])
                asked.add(1)
            facts = {"seed": seed, "size": SIZE, "length": length, "rate": RATE, "threshold": THRESHOLD}
            file.write(json.dumps({**facts, "frames": frames}) + "\n")
    part.rename(path)


def read(path: Path) -> Iterator[Found]:
    """The scenes of such a file, one by one.

    Raises InputError for another file.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                scene = json.loads(line)  # a UnicodeDecodeError is a ValueError
                frames = tuple(tuple(_segment(entry) for entry in entries) for entries in scene["frames"])
                size, length = scene["size"], scene["length"]
                found = Found(scene["seed"], frames)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise InputError(
                    f"line {number} of {path} is no scene with detections ({error}); delete the file to make it anew"
                ) from None
            if size != SIZE or length != len(frames):
                raise InputError(
                    f"line {number} of {path} has {len(frames)} frames of {size} pixels; expected {length} of {SIZE}; "
                    "delete the file to make it anew"
                )
            yield found


def _entry(segment: Segment) -> dict[str, Any]:
    mask: npt.NDArray[np.bool_] = segment.mask
    return {"label": segment.label_id, "score": segment.score, "mask": dict(rle.encode(mask))}


def _segment(entry: Any) -> Segment:
    mask = rle.decode(entry["mask"]["size"], entry["mask"]["counts"])
    return Segment.from_mask(mask, entry["score"], SHAPES[entry["label"]], entry["label"])
