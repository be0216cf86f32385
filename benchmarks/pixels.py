"""From a camera's picture to what the image encoder takes: one resize after the other, and both side by side.

    python -m xsam_edge.benchmarks.pixels [BUNDLE] [--device cuda] [--repeat N]

prints a line for each size of picture; the ways take turns in one process. With a bundle that has the graph ``pixels``,
it is run on the device, too, its upload included. Without, the sizes are those of the released models.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xsam_edge.benchmarks.measure import SETTLE_SECONDS, Distribution, Pixels
from xsam_edge.export.config.variants import get_variant
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import Manifest, bundle_path, read_manifest
from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput
from xsam_edge.runtime.chain.pixel_maker import PixelMaker
from xsam_edge.runtime.cli.common import Parser, add_running_options, command, file_path
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.image.preprocess import encoder_pixels, mask_pixels, vision_pixels
from xsam_edge.runtime.model import choose_backend

PROGRAM = "python -m xsam_edge.benchmarks.pixels"
SIZES: Mapping[str, tuple[int, int]] = {"VGA": (480, 640), "1080p": (1080, 1920)}
AFTER, BESIDE, DEVICE = "one after the other", "side by side", "on the device"

Way = Callable[[Pixels], object]


def ways_of(vision: VisionInput, mask: MaskInput) -> dict[str, Way]:
    """What the host may do, from an array to pixels of both encoders."""

    def after(picture: Pixels) -> object:
        image = load_image(picture)
        return vision_pixels(image, vision), mask_pixels(image, mask)

    return {AFTER: after, BESIDE: lambda picture: encoder_pixels(load_image(picture), vision, mask)}


def on_device(bundle: Path, manifest: Manifest, device: str, threads: int) -> Way:
    """The graph ``pixels`` of a bundle.

    Raises:
        InputError: the bundle has none.
        BackendError: it cannot be loaded.
    """
    spec = manifest.graphs.get(contract.PIXELS)
    if spec is None:
        raise InputError(f"{bundle} has no graph that resizes pictures; export it with `xsam-export --for gpu`")
    backend = choose_backend(bundle, manifest, device, threads, None)
    maker = PixelMaker(backend.open(bundle_path(bundle, spec.file), spec), backend, manifest.settings)
    return lambda picture: maker.run(np.asarray(load_image(picture))[None])


def measure(ways: Mapping[str, Way], size: tuple[int, int], repeat: int) -> dict[str, Distribution]:
    """Times of each way of making pixels of noise of a size (h, w); the first of each is not counted."""
    generator = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(repeat + 1):
        picture = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        for name in sorted(ways, reverse=bool(index % 2)):
            time.sleep(SETTLE_SECONDS)
            start = time.perf_counter()
            ways[name](picture)
            if index:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: Distribution.of(values) for name, values in times.items()}


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    if options.repeat < 1:
        raise InputError(f"--repeat is {options.repeat}; at least 1 picture must be counted")
    variant = get_variant("phi3")
    vision, mask = variant.vision_input, variant.mask_input
    device: dict[str, Way] = {}
    if options.bundle is not None:
        manifest = read_manifest(options.bundle)
        vision, mask = manifest.settings.vision_input, manifest.settings.mask_input
        device[DEVICE] = on_device(options.bundle, manifest, options.device, options.threads)
    ways = ways_of(vision, mask) | device
    for name, size in SIZES.items():
        found = measure(ways, size, options.repeat)
        parts = [f"{way} {times.p50_ms:.1f} ms" for way, times in found.items()]
        ratios = [f"{found[AFTER].p50_ms / found[way].p50_ms:.2f}" for way in found if way != AFTER]
        print(f"{name}: {', '.join(parts)} (p50 of {options.repeat}); times as fast: {', '.join(ratios)}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    options = Parser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=file_path, nargs="?", metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument("--repeat", type=int, default=20, metavar="N", help="pictures (default: %(default)s)")
    add_running_options(options)
    return command(PROGRAM, options, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
