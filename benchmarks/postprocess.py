"""Time and memory from the mask decoder's logits to a result, of a large picture with many queries.

    python -m xsam_edge.benchmarks.postprocess [TASK ...] [--size WIDTH HEIGHT] [--queries N]

prints a line for each task, which has a process of its own. Logits are drawn: soft ellipses of all sizes on the grid of
the released models, each query sure of a category. The time is the processor's, of a first run, the memory a second
one's: what is returned, and the peak above it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from xsam_edge.export.config.variants import get_variant
from xsam_edge.runtime.cli.common import Parser, command, positive
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.preprocess import scaled_size
from xsam_edge.runtime.image.resize import Frame
from xsam_edge.runtime.postprocess import instance_masks, interactive_mask, readers, semantic_map
from xsam_edge.runtime.units import size as bytes_of

PROGRAM = "python -m xsam_edge.benchmarks.postprocess"
CLASSES = 80  # of which the first half are things
STRIDE = 4  # pixels of the mask encoder's input to a cell of the grid

Floats = npt.NDArray[np.float32]
Task = Callable[[Floats, Floats, Frame], object]


def _panoptic(class_logits: Floats, mask_logits: Floats, frame: Frame) -> object:
    labels = [str(index) for index in range(CLASSES)]
    return readers.panoptic(frame, labels, CLASSES // 2, "official", 0.8)(class_logits, mask_logits)


def _region(class_logits: Floats, mask_logits: Floats, frame: Frame) -> object:
    """A box in the middle; every query is as sure as it is of its category."""
    (height, width), prompt = frame.image_size, np.zeros(frame.image_size, bool)
    prompt[height // 3 : height // 2, width // 3 : width // 2] = True
    two = np.stack([class_logits.max(1), np.zeros(len(class_logits), np.float32)], 1)
    return interactive_mask(two, mask_logits, frame, prompt, "mask")


TASKS: Mapping[str, Task] = {
    "panoptic": _panoptic,
    "instances": instance_masks,
    "semantic": semantic_map,
    "evidence": partial(semantic_map, resized="evidence"),
    "region": _region,
}


def drawn(queries: int, grid: int) -> tuple[Floats, Floats]:
    """Class logits [queries, CLASSES + 1] and mask logits [queries, grid, grid], the same ones every time."""
    generator = np.random.default_rng(0)
    class_logits = generator.normal(0, 1, (queries, CLASSES + 1)).astype(np.float32)
    class_logits[np.arange(queries), np.arange(queries) % CLASSES] += 8
    y, x = np.mgrid[:grid, :grid].astype(np.float32) / grid
    mask_logits = np.empty((queries, grid, grid), np.float32)
    for index in range(queries):
        centre_y, centre_x = generator.uniform(0, 1, 2)
        radius_y, radius_x = 10 ** generator.uniform(-2.3, -0.8, 2)
        distance = np.hypot((y - centre_y) / radius_y, (x - centre_x) / radius_x)
        mask_logits[index] = np.clip(8 * (1 - distance), -12, 8) + generator.normal(0, 0.5, (grid, grid))
    return class_logits, mask_logits


def measure(task: str, size: tuple[int, int], queries: int) -> tuple[float, int, int]:
    """Seconds, and bytes that are returned and that the peak lies above them, of a task on a picture of (h, w)."""
    mask = get_variant("phi3").mask_input
    frame = Frame(size, scaled_size(size, mask), (mask.height, mask.width))
    logits = drawn(queries, mask.height // STRIDE)
    start = time.process_time()
    TASKS[task](*logits, frame)
    seconds = time.process_time() - start
    tracemalloc.start()
    result = TASKS[task](*logits, frame)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return seconds, held, peak - held


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    for task in options.tasks:
        if task not in TASKS:  # which argparse does not take for choices of as many as there are
            raise InputError(f"there is no task {task!r}; choose of {', '.join(TASKS)}")
    width, height = options.size
    for task in options.tasks or TASKS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, held, above = pool.apply(measure, (task, (height, width), options.queries))
        print(f"{task}: {seconds:.1f} s, returns {bytes_of(held)}, peak {bytes_of(above)} above it", flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    options = Parser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    options.add_argument("--size", type=positive, nargs=2, default=(6000, 4000), metavar=("WIDTH", "HEIGHT"))
    options.add_argument("--queries", type=positive, default=200, metavar="N", help="default: %(default)s")
    return command(PROGRAM, options, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
