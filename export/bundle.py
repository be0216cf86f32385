"""Writing a bundle: graphs one after the other, embeddings, tokenizer, manifest.

A bundle is written into a folder beside its place and renamed when it is whole, so that an interrupted export leaves
nothing or the old bundle. No step holds more than one tensor of the model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from xsam_edge.export import precision as precision_plans
from xsam_edge.export.config import ModelConfig
from xsam_edge.export.graph_passes import WeightPlan, extract_weights, infer_types, rename, simplify
from xsam_edge.export.graphs import FP32_TENSORS, GRAPHS, graph_spec
from xsam_edge.export.models.xsam import XSam
from xsam_edge.export.precision import Precision
from xsam_edge.export.trace import fake_tensors, trace
from xsam_edge.export.weights import WeightSource, blocks, cast, check_space, write_external_data
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    EmbeddingTable,
    FileEntry,
    GraphSpec,
    Manifest,
    Source,
    hash_file,
    running_total,
)
from xsam_edge.runtime.settings import Settings

EMBEDDINGS = "llm.model.embed_tokens.weight"
# Sizes of the parts, for who builds the torch model of a bundle; the runtime does not read it.
CONFIG_FILE = "model_config.json"
_NUMPY = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}
_PRODUCERS = ("xsam-edge", "torch", "onnx", "onnx-ir", "onnxscript")

# Called with what is being done, bytes done and bytes in all (0 where unknown).
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BundleRequest:
    """What goes into a bundle."""

    config: ModelConfig
    variant: str
    settings: Settings
    weights: WeightSource
    tokenizer_json: str
    source: Source
    precision: Precision = "fp32"


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the model has, in main-line names."""
    with fake_tensors():
        return tensor_shapes(XSam(config))


def tensor_shapes(model: XSam) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass


def write_bundle(
    request: BundleRequest, output: Path, *, overwrite: bool = False, report: Report = _ignore
) -> Manifest:
    """Write a bundle to ``output``.

    Raises:
        InputError: ``output`` exists and is not to be overwritten, or is not a bundle.
        XSamError: the disk is too small.
        CheckpointError: a tensor cannot be read, or does not fit the precision.
    """
    with staged(output, overwrite) as folder:
        itemsize = _NUMPY[request.precision].itemsize
        with fake_tensors():
            model = XSam(request.config)
        shapes = tensor_shapes(model)
        values = sum(int(np.prod(shape)) for shape in shapes.values())
        if request.config.llm.tie_word_embeddings:  # written twice: as embeddings and as the head of the graph
            values += int(np.prod(shapes[EMBEDDINGS]))
        check_space(folder, itemsize * values)
        graphs = {}
        for name in GRAPHS:
            report(f"{name}: trace", 0, 0)
            graphs[name] = _write_graph(request, model, name, folder, report)
        _write_embeddings(request, shapes[EMBEDDINGS], folder / EMBEDDINGS_FILE, report)
        (folder / TOKENIZER_FILE).write_text(request.tokenizer_json, encoding="utf-8")
        config = json.dumps(dataclasses.asdict(request.config), indent=1)
        (folder / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
        manifest = Manifest(
            variant=request.variant,
            precision=request.precision,
            source=request.source,
            settings=request.settings,
            embeddings=EmbeddingTable(_NUMPY[request.precision].name, *shapes[EMBEDDINGS]),
            graphs=graphs,
            files=_hash_files(folder, report),
            producer={name: importlib.metadata.version(name) for name in _PRODUCERS},
        )
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


@contextlib.contextmanager
def staged(output: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into that takes the place of ``output`` when the block ends without an error."""
    output = Path(os.path.realpath(output))  # behind a link, its target is replaced and the link stays
    check_output(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    unique = f"{os.getpid()}-{secrets.token_hex(3)}"
    folder = output.with_name(f".{output.name}.{unique}.partial")
    old = output.with_name(f".{output.name}.{unique}.old")
    try:
        folder.mkdir()
        yield folder
        check_output(output, overwrite)
        if output.exists():
            output.rename(old)
        folder.rename(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.rename(output)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_output(output: Path, overwrite: bool) -> None:
    """Raise InputError if a bundle cannot be put at ``output``."""
    if not output.exists():
        return
    if not overwrite:
        raise InputError(f"{output} exists; choose another output, or replace the bundle with --overwrite")
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_FILE).is_file()):
        raise InputError(f"{output} exists and is not a bundle; it is left alone, choose another output")


def build_graph(model: XSam, name: str, precision: Precision) -> tuple[ir.Model, dict[str, WeightPlan]]:
    """Trace a graph, evaluate and name what can be, apply a precision. Weights are left to be written."""
    graph = trace(GRAPHS[name](model))
    simplify(graph)
    rename(graph)
    infer_types(graph)
    plans = extract_weights(graph)
    precision_plans.apply(graph, plans, precision_plans.plan_for(precision, FP32_TENSORS))
    graph.graph.name = name
    graph.producer_name = "xsam-edge"
    graph.producer_version = importlib.metadata.version("xsam-edge")
    return graph, plans


def _write_graph(request: BundleRequest, model: XSam, name: str, folder: Path, report: Report) -> GraphSpec:
    graph, plans = build_graph(model, name, request.precision)
    total = sum(int(np.prod(v.shape.numpy())) * v.dtype.itemsize for v in graph.graph.initializers.values())
    progress = running_total(partial(report, f"{name}: weights"), total)
    file = f"{name}.onnx"
    write_external_data(graph, plans, request.weights, folder / f"{file}.data", progress)
    ir.save(graph, folder / file)
    # By path: the checker then reads the external data's layout, but not into memory.
    onnx.checker.check_model(str(folder / file), full_check=True)
    return graph_spec(graph, file)


def _write_embeddings(request: BundleRequest, shape: tuple[int, ...], path: Path, report: Report) -> None:
    dtype = _NUMPY[request.precision]
    with path.open("wb") as file:
        for start, stop in blocks(shape):
            rows = request.weights.read_rows(EMBEDDINGS, start, stop)
            file.write(np.ascontiguousarray(cast(rows, dtype, EMBEDDINGS)).data)
            report("token embeddings", stop * shape[1] * dtype.itemsize, shape[0] * shape[1] * dtype.itemsize)


def _hash_files(folder: Path, report: Report) -> dict[str, FileEntry]:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    progress = running_total(partial(report, "hash"), sum(path.stat().st_size for path in paths))
    return {path.name: FileEntry(path.stat().st_size, hash_file(path, progress)) for path in paths}
