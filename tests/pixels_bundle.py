"""A bundle with the graph ``pixels``, which those for GPUs have."""

from __future__ import annotations

import shutil
from pathlib import Path


def write(checkpoint: Path, bundle: Path, output: Path) -> Path:
    """Seal the graphs of a bundle in FP32, of a checkpoint, again, as those for a GPU."""
    from dataclasses import replace

    from xsam_edge.export.bundle import seal
    from xsam_edge.export.prepare import from_checkpoint
    from xsam_edge.runtime.bundle.manifest import read_manifest
    from xsam_edge.runtime.progress import silent

    graphs = read_manifest(bundle).graphs
    output.mkdir()
    for file in (path for graph in graphs.values() for path in bundle.glob(f"{graph.file}*")):
        shutil.copyfile(file, output / file.name)  # readers of ONNX refuse links
    request = replace(from_checkpoint(str(checkpoint), progress=silent), dialect="gpu")
    seal(request, output, "fp32", "fp32", graphs, silent)
    return output
