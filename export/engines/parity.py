"""Whether new engines answer as the graphs do that they were compiled from.

Compilers are known to be wrong without an error, and nothing but a run shows it: engines are asked about a few drawn
pictures where they were built, beside the graphs on the CPU.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xsam_edge.calibration.calibration_data import open_calibration
from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.bundle.manifest import Manifest
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import EngineBuildError
from xsam_edge.runtime.progress import Progress

if TYPE_CHECKING:
    from xsam_edge.export.gate.measure import Score

# Masks of an engine differ from those of its graph by the order of sums; those of a wrong one by half and more.
LEAST_IOU = 0.95
_PICTURES = 2
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Parity:
    """What a parity run found: a sentence, and the score where there was one."""

    note: str
    score: Score | None = None


def why_not(manifest: Manifest, device: DeviceInfo | None, capabilities: tuple[str, ...]) -> str:
    """Why engines for ``capabilities`` of a bundle of graphs cannot be compared here; "" where they can be."""
    if device is None:
        return "there is no GPU here"
    if device.compute_capability not in capabilities:
        return f"{device.name} has compute capability {device.compute_capability}, not {', '.join(capabilities)}"
    if not manifest.source.sha256:
        return "masks of random weights say nothing"
    if not any(_is_installed(name) for name in _RUNTIMES):
        return "onnxruntime, which runs the graphs, is not installed"
    return ""


def parity_check(
    engines: Path,
    graphs: Path,
    manifest: Manifest,
    device: DeviceInfo | None,
    capabilities: tuple[str, ...],
    progress: Progress,
    *,
    backend: Callable[[Path], Backend] | None = None,
) -> Parity:
    """Compare a folder of engines, run by ``backend`` or their own, with the bundle ``graphs`` of ``manifest``.

    Raises:
        EngineBuildError: masks agree less than ``LEAST_IOU``.
    """
    if reason := why_not(manifest, device, capabilities):
        return Parity(f"parity with the graphs was not checked: {reason}")
    from xsam_edge.export.gate.measure import Exam

    data = open_calibration("shapes", 1, _PICTURES)
    exam = Exam(graphs, data.held_out, progress=progress)
    score = exam.score(engines, backend(engines) if backend else None, what="parity: the engines")
    found = (
        f"a mean IoU of {score.mean_iou:.3f} in {score.masks} masks of {score.pictures} pictures, and "
        f"{100 * (score.token_agreement or 0.0):.0f}% of texts alike"
    )
    if score.mean_iou < LEAST_IOU:
        raise EngineBuildError(
            f"the engines answer otherwise than their graphs: {found}; the compiler is wrong about this model, so "
            "that nothing was written. Try another version of the library or another --optimization-level, or keep "
            "them with --no-parity"
        )
    return Parity(f"parity with the graphs: {found}", score)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
