"""Moving drawn scenes as folders of frames, with annotations in the form of YouTube-VIS.

``frames/SEED/NNNNNN.png`` and ``annotations.json``: ``videos`` with their ``file_names``, ``annotations``, one for each
thing, with a list of a mask (compressed RLE), a box and an area for each frame, None where no pixel of it is seen, and
``visible``, the share of the whole thing that is seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from xsam_edge.calibration.shapes.composition import SHAPES
from xsam_edge.calibration.shapes.motion import RATE, MovingScene, SeenThing, move
from xsam_edge.runtime.progress import Progress, Tally, silent
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.iou import mask_box

Json = dict[str, Any]


def write_moving(folder: Path, seeds: Sequence[int], length: int, size: int, progress: Progress = silent) -> None:
    """Write the moving scenes of some seeds, ``length`` frames of ``size`` pixels each, into a new folder.

    ``progress`` is told of each frame. Raises FileExistsError where the folder exists, and InputError as ``move``.
    """
    folder.mkdir(parents=True)
    videos: list[Json] = []
    annotations: list[Json] = []
    drawn = Tally(progress, "draw", len(seeds) * length, "frames")
    for seed in seeds:
        scene = move(seed, length)
        frames = folder / "frames" / f"{seed:08d}"
        frames.mkdir(parents=True)
        seen: list[dict[int, SeenThing]] = []
        for number, (drawing, things) in enumerate(scene.frames(size)):
            Image.fromarray(drawing.pixels).save(frames / f"{number:06d}.png")
            seen.append({thing.identity: thing for thing in things})
            drawn.add(1)
        names = [f"{frames.name}/{number:06d}.png" for number in range(length)]
        facts = {"width": size, "height": size, "length": length, "fps": RATE}
        videos.append({"id": seed, **facts, "file_names": names})
        annotations += _annotations(scene, seen, len(annotations) + 1)
    categories = [{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)]
    content = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")


def _annotations(scene: MovingScene, seen: Sequence[dict[int, SeenThing]], first: int) -> list[Json]:
    found: list[Json] = []
    for identity in sorted({identity for things in seen for identity in things}):
        frames = [things.get(identity) for things in seen]
        shown = scene.movers[identity - 1].thing
        found.append(
            {
                "id": first + len(found),
                "video_id": scene.seed,
                "category_id": SHAPES.index(shown.shape) + 1,
                "name": shown.name,
                "iscrowd": 0,
                "segmentations": [dict(rle.encode(thing.mask)) if thing else None for thing in frames],
                "bboxes": [_bbox(thing) if thing else None for thing in frames],
                "areas": [int(thing.mask.sum()) if thing else None for thing in frames],
                "visible": [round(thing.visible, 4) if thing else 0.0 for thing in frames],
            }
        )
    return found


def _bbox(thing: SeenThing) -> list[float]:
    x0, y0, x1, y1 = mask_box(thing.mask)
    return [x0, y0, x1 - x0, y1 - y0]
