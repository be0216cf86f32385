"""What trials need of a bundle besides graphs: embeddings, tokenizer, and a manifest that names types."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.graph.weights import blocks, cast
from xsam_edge.export.precision.plan import CachePrecision, FloatType
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import FP8
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    EmbeddingTable,
    FileEntry,
    GraphSpec,
    TensorSpec,
    read_manifest,
)

_FLOATS: Mapping[FloatType, str] = {"fp32": "float32", "fp16": "float16"}
_CODES: Mapping[CachePrecision, str] = {"int8": "int8", "fp8": FP8}
_CACHE = ("past_key.", "past_value.", "new_key.", "new_value.")


def write_frame(base: Path, folder: Path, float_type: FloatType, kv_cache: CachePrecision | None = None) -> None:
    """Write into an empty folder what an FP32 bundle would be with other types, without the weights of its graphs.

    The graphs themselves are those of ``base``; who opens the bundle brings others.

    Raises:
        CheckpointError: an embedding that FP16 cannot hold.
    """
    manifest = read_manifest(base)
    kept = {name: entry for name, entry in manifest.files.items() if not name.endswith(".data")}
    for name in kept.keys() - {EMBEDDINGS_FILE}:
        shutil.copyfile(base / name, folder / name)
    table, floats = manifest.embeddings, _FLOATS[float_type]
    source = np.memmap(base / EMBEDDINGS_FILE, np.dtype(table.dtype), "r", shape=(table.rows, table.columns))
    path = folder / EMBEDDINGS_FILE
    with path.open("wb") as file:
        for start, stop in blocks((table.rows, table.columns)):
            file.write(cast(source[start:stop], np.dtype(floats), "token embeddings").data)
    kept[EMBEDDINGS_FILE] = FileEntry.of(path)
    manifest = replace(
        manifest,
        embeddings=EmbeddingTable(floats, table.rows, table.columns),
        graphs={
            # Sums of its weights are exact in float32 alone.
            name: spec if name == contract.PIXELS else _typed(spec, floats, kv_cache)
            for name, spec in manifest.graphs.items()
        },
        files=kept,
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _typed(spec: GraphSpec, floats: str, kv_cache: CachePrecision | None) -> GraphSpec:
    def typed(tensor: TensorSpec) -> TensorSpec:
        if kv_cache is not None and tensor.name.startswith(_CACHE):
            return replace(tensor, dtype=_CODES[kv_cache])
        kept = tensor.dtype != "float32" or tensor.name in FP32_TENSORS
        return tensor if kept else replace(tensor, dtype=floats)

    return replace(spec, inputs=tuple(map(typed, spec.inputs)), outputs=tuple(map(typed, spec.outputs)))
