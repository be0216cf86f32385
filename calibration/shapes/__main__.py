"""``python -m xsam_edge.calibration.shapes``: drawn scenes as pictures, in common formats, or as moving ones."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from PIL import Image

from xsam_edge.calibration.shapes.dataset import SIZE, ShapesData
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.calibration.shapes.write import write_folder
from xsam_edge.calibration.shapes.write_moving import write_moving
from xsam_edge.runtime.cli.common import Parser, command, count, file_path, positive
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Tally

_SMALLEST = 16
_PROGRAM = "python -m xsam_edge.calibration.shapes"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(_PROGRAM, description=__doc__)
    options.add_argument(
        "--split",
        default="test",
        metavar="NAME",
        help="test, val, hard, ... or seeds, as 0-99 or hard-0-99 (default: %(default)s)",
    )
    options.add_argument("--limit", type=count, metavar="N", help="only the first N of them")
    options.add_argument(
        "--size", type=count, metavar="PIXELS", help=f"of an edge (default: {SIZE}; of hard scenes 480 to 1,080)"
    )
    options.add_argument(
        "--coco", action="store_true", help="write annotations too (COCO, RefCOCO, ReasonSeg, captions)"
    )
    options.add_argument(
        "--frames", type=positive, metavar="N", help="moving scenes of so many frames, with annotations (YouTube-VIS)"
    )
    options.add_argument("-o", "--output", type=file_path, required=True, metavar="DIR", help="a new folder")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(_PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Draw; returns the exit code."""
    data = ShapesData(options.split, options.size)
    seeds = data.seeds[: options.limit]
    if len(seeds) > 100_000:
        raise InputError(f"{data.name} has {len(seeds)} scenes; say how many with --limit")
    if options.size is not None and options.size < _SMALLEST:
        raise InputError(f"--size is {options.size}; scenes are drawn at {_SMALLEST} pixels or more")
    if options.frames and (options.coco or data.hard or data.split == "directions"):
        other = "--coco" if options.coco else f"--split {data.split}"
        raise InputError(f"--frames makes moving scenes, which have annotations of their own; leave {other} out")
    if options.output.exists():
        raise InputError(f"{options.output} exists; give a new folder")
    aside = options.output.with_name(f".{options.output.name}.{os.getpid()}.partial")
    with ProgressPrinter(sys.stderr) as progress:
        try:
            if options.frames:
                write_moving(aside, seeds, options.frames, options.size or SIZE, progress)
            elif options.coco:
                write_folder(aside, data, seeds, progress=progress)
            else:
                aside.mkdir(parents=True)
                drawn = Tally(progress, "draw", len(seeds), "scenes")
                for seed in seeds:
                    drawing = draw(data.composition(seed), data.size(seed))
                    Image.fromarray(drawing.pixels).save(aside / f"{seed:08d}.png")
                    drawn.add(1)
            aside.rename(options.output)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    sizes = sorted({data.size(seed) for seed in seeds})
    frames = f", {options.frames} frames each," if options.frames else ""
    print(
        f"{options.output}: {len(seeds)} scenes{frames} of {' or '.join(f'{size} x {size}' for size in sizes)} pixels"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
