"""``python -m xsam_edge.calibration.tracking``: how well identities are kept over the frames of moving drawn scenes.

A bundle is asked for the shapes in every frame; the tracker of the runtime, and a greedy one to compare with, give
identities to the same segments. Both also get the true segments, which tells the tracker's part from the model's.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xsam_edge.calibration.page.text import aligned
from xsam_edge.calibration.shapes.motion import LENGTH, TEST_SEEDS, move
from xsam_edge.calibration.tracking import detections
from xsam_edge.calibration.tracking.compare import AnyTracker, Frame, frame, measure
from xsam_edge.calibration.tracking.greedy import GreedyTracker
from xsam_edge.runtime.cli.common import Parser, add_running_options, command, file_path, load_bundle, positive
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress, Tally
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.tracking.tracker import Tracker

_PROGRAM = "python -m xsam_edge.calibration.tracking"
_SEEDS = re.compile(r"(\d{1,9})-(\d{1,9})")
_COLUMNS = ("idf1", "mota", "hota", "deta", "assa", "motp", "switches", "misses", "false_positives", "things")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument(
        "--detections",
        type=file_path,
        required=True,
        metavar="FILE",
        help="where what the bundle finds is kept; where it is there already, the bundle is not asked again",
    )
    options.add_argument(
        "--seeds",
        type=_seeds,
        default=TEST_SEEDS,
        metavar="FIRST-LAST",
        help=f"of the scenes (default: {TEST_SEEDS[0]}-{TEST_SEEDS[-1]})",
    )
    options.add_argument(
        "--frames", type=positive, default=LENGTH, metavar="N", help="of each scene (default: %(default)s)"
    )
    options.add_argument("--json", action="store_true", help="print one JSON object")
    add_running_options(options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(_PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Ask, track and print; returns the exit code."""
    kept = TrackerOptions()
    trackers: dict[str, Callable[[], AnyTracker]] = {
        "tracker": Tracker,
        "greedy": lambda: GreedyTracker(kept, kept.overlap),
    }
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        if not options.detections.exists():
            running = {"device": options.device, "threads": options.threads, "context": options.context}
            model = load_bundle(options.bundle, progress, verify=options.verify, **running)
            detections.write(options.detections, model, options.seeds, options.frames, progress)
        found = measure(_scenes(options, progress), trackers)
    if options.json:
        print(json.dumps({"seeds": [options.seeds[0], options.seeds[-1]], "frames": options.frames, **found}))
        return 0
    rows = [("segments", "identities", *(name.replace("_", " ") for name in _COLUMNS))]
    for source, by_tracker in found.items():
        rows += [
            (source, name, *map(_cell, (metrics[key] for key in _COLUMNS))) for name, metrics in by_tracker.items()
        ]
    print("\n".join(aligned(rows)))
    return 0


def _scenes(options: argparse.Namespace, progress: Progress) -> Iterator[Mapping[str, list[Frame]]]:
    """Each scene with what was found in it, and with what is there.

    Raises InputError where the file has other scenes than those that are wanted.
    """
    tracked = Tally(progress, "track", len(options.seeds), "scenes")
    kept, expected = detections.read(options.detections), [(seed, options.frames) for seed in options.seeds]
    seen = []
    for found in kept:
        seen.append((found.seed, len(found.frames)))
        if seen != expected[: len(seen)]:
            break
        truth = detections.truth(move(found.seed, len(found.frames)))
        yield {
            "found": [
                frame(segments, there, detections.SIZE) for segments, there in zip(found.frames, truth, strict=True)
            ],
            "true": [frame(detections.true_segments(there), there, detections.SIZE) for there in truth],
        }
        tracked.add(1)
    if seen != expected:
        raise InputError(
            f"{options.detections} has other scenes than the seeds {options.seeds[0]}-{options.seeds[-1]} of "
            f"{options.frames} frames; give those that it was made for, or another file"
        )


def _seeds(text: str) -> range:
    """The type of ``--seeds``."""
    match = _SEEDS.fullmatch(text)
    if match and (seeds := range(int(match[1]), int(match[2]) + 1)):
        return seeds
    raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds, such as 0-19")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
