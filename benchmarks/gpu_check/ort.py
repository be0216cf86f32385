"""The demo model on ONNX Runtime, in every precision: is the GPU really used, and are answers those of a CPU?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from xsam_edge.benchmarks.gpu_check import providers
from xsam_edge.benchmarks.gpu_check.records import DEVICE, Recorder
from xsam_edge.benchmarks.gpu_check.steps import BUNDLES, Setting
from xsam_edge.benchmarks.measure import Pixels
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import bundle_path, read_manifest
from xsam_edge.runtime.cli.common import describe_error
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.iou import mask_iou
from xsam_edge.runtime.results.result import Result

_SCENES = (83, 84, 85, 86)
_WIDTH = 96  # pixels, of the demo model's pictures
_AXES = {contract.SEQUENCE: 64, contract.ROWS: 1, contract.CONDITIONS: 2}


def run(setting: Setting, say: Recorder) -> None:
    """The step; a bundle that fails leaves the others alone.

    Raises:
        InputError: there is no bundle.
        XSamError: one failed.
    """
    providers.preload(setting.device)
    say(DEVICE, setting.device)
    say("onnxruntime", onnxruntime.__version__, note=", ".join(onnxruntime.get_available_providers()))
    folder = setting.payload / BUNDLES
    bundles = [path for path in sorted(folder.glob("*")) if path.is_dir()]
    if not bundles:
        raise InputError(f"{folder} has no bundle; make the payload with `gpu_check pack`")
    failed = []
    for bundle in bundles:
        try:
            _placed(bundle, setting, say)
            compare(bundle, setting, say)
        except XSamError as error:
            failed.append(bundle.name)
            say(f"{bundle.name}", "failed", note=describe_error(error)[:300])
    if failed:
        raise XSamError(f"{', '.join(failed)} failed")


def _placed(bundle: Path, setting: Setting, say: Recorder) -> None:
    manifest = read_manifest(bundle)
    for graph, spec in manifest.graphs.items():
        found = providers.profile(bundle_path(bundle, spec.file), spec, _AXES, setting.device)
        on_cpu = f"on the CPU {providers.counted(found.on_cpu)}; {found.copies} copies"
        note = "" if setting.device == "cpu" else on_cpu
        say(f"{bundle.name}: nodes of {graph}", providers.counted(found.nodes), note=note)


def compare(bundle: Path, setting: Setting, say: Recorder) -> None:
    """Ask a bundle the same on the device and on a CPU."""
    scenes = _SCENES[:1] if setting.small else _SCENES
    pictures = [draw(compose(scene), _WIDTH).pixels for scene in scenes]
    found, expected = (_ask(XSam.load(bundle, device=device), pictures) for device in (setting.device, "cpu"))
    texts, overlaps = agreement(found, expected)
    say(f"{bundle.name}: texts equal", texts == len(overlaps), note=f"{texts} of {len(overlaps)} answers")
    say(f"{bundle.name}: least mask IoU", min(overlaps), note=f"mean {np.mean(overlaps):.4f}")


def _ask(model: XSam, pictures: Sequence[Pixels]) -> list[Result]:
    return [answer for picture in pictures for answer in _ask_of(model, picture)]


def _ask_of(model: XSam, picture: Pixels) -> list[Result]:
    height, width = picture.shape[:2]
    box = (width // 8, height // 8, width // 2, height // 2)
    with model.look(picture) as scene:
        return [
            scene.refer("the red circle"),
            scene.refer("the blue square", answer="append"),
            scene.categories(["circle", "square"], ["sky"], answer="append"),
            scene.regions(boxes=[box], answer="append"),
            *scene.refer(["the red circle", "the star"]),
        ]


def agreement(found: Sequence[Result], expected: Sequence[Result]) -> tuple[int, list[float]]:
    """How many texts are equal, and the IoU of all masks of each answer, 0 where their numbers differ."""
    pairs = list(zip(found, expected, strict=True))
    return sum(one.text == other.text for one, other in pairs), [_iou(one, other) for one, other in pairs]


def _iou(one: Result, other: Result) -> float:
    return mask_iou(one.masks, other.masks) if len(one.segments) == len(other.segments) else 0.0
