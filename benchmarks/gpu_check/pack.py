"""What a machine without network is brought: demo bundles, skeletons of the full-size model, ONNX Runtime for GPUs."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from xsam_edge.benchmarks.flops import work_of
from xsam_edge.benchmarks.gpu_check.fatbin import prune
from xsam_edge.benchmarks.gpu_check.parcel import PAYLOAD, write_parts
from xsam_edge.benchmarks.gpu_check.skeleton import strip
from xsam_edge.benchmarks.gpu_check.stages import COSTS_FILE, Costs, Nominal, Work, read_costs, write_costs
from xsam_edge.benchmarks.gpu_check.steps import BUNDLES, SITE, SKELETONS
from xsam_edge.export import cli as export
from xsam_edge.export.bundle import write_bundle
from xsam_edge.export.prepare import from_random
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.manifest import Manifest
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Progress, Step

DEMO = {
    "shapes-fp32": ("--precision", "fp32"),
    "shapes-fp16": ("--precision", "fp16"),
    "shapes-fp16-cuda": ("--precision", "fp16", "--for", "cuda"),
    "shapes-int8": ("--precision", "int8"),
    "shapes-int4": ("--precision", "int4"),
}
"""Demo bundles by their names, and how each is exported."""

DIALECTS: tuple[Dialect, ...] = tuple(dialect for dialect in get_args(Dialect) if dialect != "cpu")
_CUDA_LIBRARY = "libonnxruntime_providers_cuda.so"
_UNUSED = "libonnxruntime_providers_tensorrt.so"


def pack(
    output: Path,
    *,
    variant: str,
    onnxruntime: Path | None,
    capability: int,
    limit: int,
    progress: Progress,
) -> list[Path]:
    """Gather a payload and divide it; what is there already is kept.

    Args:
        output: a folder, made where it is absent.
        variant: of the skeletons.
        onnxruntime: a wheel of onnxruntime-gpu, or a folder with the package in it.
        capability: of the GPU whose kernels are brought, such as 90; 0 brings all.
        limit: bytes of a part.
        progress: told what is made.

    Returns:
        the folders of the parts, in order.

    Raises:
        InputError: ``onnxruntime`` is neither.
        XSamError: an export failed.
    """
    payload = output / PAYLOAD
    for name, options in DEMO.items():
        _demo(payload / BUNDLES / name, options, progress)
    counted: Costs = {}  # alike in all dialects, as is what they compute; operators of ONNX Runtime's own hide theirs
    for dialect in sorted(DIALECTS, key=lambda dialect: dialect != "gpu"):
        counted = _skeleton(payload / SKELETONS / f"{variant}-{dialect}", variant, dialect, counted, progress)
    if onnxruntime is not None:
        progress(Step("onnxruntime"))
        bring(onnxruntime, payload / SITE, capability)
    progress(Step("compress"))
    return write_parts(payload, output, limit)


def _demo(bundle: Path, options: tuple[str, ...], progress: Progress) -> None:
    if bundle.is_dir():
        return
    progress(Step(f"export {bundle.name}"))
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):
        if export.main(["--checkpoint", "shapes", *options, "-o", str(bundle)]):
            raise XSamError(f"{bundle.name} was not exported; see above")


def _skeleton(target: Path, variant: str, dialect: Dialect, counted: Costs, progress: Progress) -> Costs:
    """Make a skeleton of random weights, whose bundle is gone afterwards; returns its costs."""
    if target.is_dir():
        return read_costs(target / COSTS_FILE)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        bundle, whole = Path(folder) / "bundle", Path(folder) / "skeleton"
        manifest = write_bundle(from_random(variant, 0, precision="fp16", dialect=dialect), bundle, progress=progress)
        costs = counted or dict(_costs(bundle, manifest, progress))
        progress(Step(f"strip {target.name}"))
        strip(bundle, whole)
        write_costs(whole / COSTS_FILE, costs)
        whole.rename(target)
    return costs


def _costs(bundle: Path, manifest: Manifest, progress: Progress) -> Iterator[tuple[str, Work]]:
    for stage, (graph, axes) in Nominal.of(manifest.settings.model).axes().items():
        progress(Step(f"count the work of {stage}"))
        found = work_of(bundle, manifest, graph).at(axes)
        yield stage, Work(found.flops, found.bytes)


def bring(source: Path, site: Path, capability: int) -> None:
    """Put the package onnxruntime of a wheel or a folder into ``site``, without what no step uses.

    Raises:
        InputError: it is not there, or has no CUDA provider.
    """
    if site.is_dir():
        return
    with tempfile.TemporaryDirectory() as folder:
        if source.is_file() and zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as wheel:
                wheel.extractall(folder)
            source = Path(folder)
        library = source / "onnxruntime" / "capi" / _CUDA_LIBRARY
        if not library.is_file():
            raise InputError(f"{source} has no onnxruntime/capi/{_CUDA_LIBRARY}; give a wheel of onnxruntime-gpu")
        kept = [path for path in source.iterdir() if path.name.startswith("onnxruntime")]
        for path in kept:
            shutil.copytree(path, site / path.name, ignore=shutil.ignore_patterns(_UNUSED, "__pycache__"))
    if capability:
        copied = site / "onnxruntime" / "capi" / _CUDA_LIBRARY
        content = bytearray(copied.read_bytes())
        prune(content, capability)
        copied.write_bytes(content)
