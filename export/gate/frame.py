"""What trials need of a bundle besides graphs: embeddings, tokenizer, and a manifest that names types."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.graph.weights import blocks, cast
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    EmbeddingTable,
    FileEntry,
    GraphSpec,
    TensorSpec,
    read_manifest,
)

_HALF = "float16"


def write_half_frame(base: Path, folder: Path) -> None:
    """Write into an empty folder what an FP32 bundle would be in FP16, without the weights of its graphs.

    The graphs themselves are those of ``base``; who opens the bundle brings others.

    Raises:
        CheckpointError: an embedding that FP16 cannot hold.
    """
    manifest = read_manifest(base)
    kept = {name: entry for name, entry in manifest.files.items() if not name.endswith(".data")}
    for name in kept.keys() - {EMBEDDINGS_FILE}:
        shutil.copyfile(base / name, folder / name)
    table = manifest.embeddings
    source = np.memmap(base / EMBEDDINGS_FILE, np.dtype(table.dtype), "r", shape=(table.rows, table.columns))
    path = folder / EMBEDDINGS_FILE
    with path.open("wb") as file:
        for start, stop in blocks((table.rows, table.columns)):
            file.write(cast(source[start:stop], np.dtype(_HALF), "token embeddings").data)
    kept[EMBEDDINGS_FILE] = FileEntry.of(path)
    manifest = replace(
        manifest,
        embeddings=EmbeddingTable(_HALF, table.rows, table.columns),
        graphs={
            name: spec if name == contract.PIXELS else _halved(spec)  # sums of its weights are exact in float32 alone
            for name, spec in manifest.graphs.items()
        },
        files=kept,
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _halved(spec: GraphSpec) -> GraphSpec:
    return replace(spec, inputs=tuple(map(_half, spec.inputs)), outputs=tuple(map(_half, spec.outputs)))


def _half(tensor: TensorSpec) -> TensorSpec:
    kept = tensor.dtype != "float32" or tensor.name in FP32_TENSORS
    return tensor if kept else replace(tensor, dtype=_HALF)
