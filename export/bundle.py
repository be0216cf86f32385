"""Writing a bundle: graphs one after the other, embeddings, tokenizer, manifest.

A bundle is written into a folder beside its place and renamed when it is whole, so that an interrupted export leaves
nothing or the old bundle. No step holds more than one tensor of the model.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from xsam_edge.calibration.stored_weights import narrow
from xsam_edge.export.config.activation_sizes import activation_sizes
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.graph.floats import FloatTypes, apply
from xsam_edge.export.graph.fused_attention import fuse_attention
from xsam_edge.export.graph.graphs import FP32_TENSORS, GRAPHS, graph_spec
from xsam_edge.export.graph.passes import WeightPlan, extract_weights, infer_types, rename, simplify
from xsam_edge.export.graph.pixels import has_pixels, pixels_graph
from xsam_edge.export.graph.trace import fake_tensors, trace
from xsam_edge.export.graph.weights import (
    WeightSource,
    blocks,
    cast,
    stored_bytes,
    stored_types,
    write_external_data,
)
from xsam_edge.export.graph.work import record
from xsam_edge.export.models.xsam import XSam
from xsam_edge.export.precision.plan import FloatType, GraphNames, resolve
from xsam_edge.export.precision.presets import preset
from xsam_edge.export.staging import check_space, hash_files, staged
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    EmbeddingTable,
    GraphSpec,
    Manifest,
    Provenance,
)
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.progress import Progress, Step, Tally, silent

EMBEDDINGS = "llm.model.embed_tokens.weight"
# Sizes of the parts, for who builds the torch model of a bundle; the runtime does not read it.
CONFIG_FILE = "model_config.json"
_NUMPY: Mapping[FloatType, np.dtype[np.floating]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}
_PRODUCERS = ("xsam-edge", "torch", "onnx", "onnx-ir", "onnxscript")


@dataclass(frozen=True)
class BundleRequest:
    """What goes into a bundle. Of ``precision`` are the floats; integers come later (``xsam_edge.export.quantize``).

    ``precision_why`` says why the bundle's precision was chosen, where its user did not choose it.
    """

    config: ModelConfig
    variant: str
    settings: Settings
    weights: WeightSource
    tokenizer_json: str
    source: Provenance
    precision: FloatType = "fp32"
    dialect: Dialect = "cpu"
    precision_why: str = ""


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the model has, in main-line names."""
    return dict(_expected_tensors(config))


@cache  # a model of full size takes seconds
def _expected_tensors(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    with fake_tensors():
        return tensor_shapes(XSam(config))


def tensor_shapes(model: XSam) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def write_bundle(
    request: BundleRequest, output: Path, *, overwrite: bool = False, progress: Progress = silent
) -> Manifest:
    """Write a bundle to ``output``.

    Raises:
        InputError: ``output`` exists and is not to be overwritten, or is not a bundle.
        XSamError: the disk is too small.
        CheckpointError: a tensor cannot be read, or does not fit the precision.
    """
    with staged(output, overwrite, progress) as folder:
        return fill_bundle(request, folder, progress)


def fill_bundle(
    request: BundleRequest, folder: Path, progress: Progress = silent, *, finished: bool = True
) -> Manifest:
    """Write a bundle into an empty folder; raises as :func:`write_bundle`.

    One that is not ``finished`` is to be lowered: its graphs lack what :func:`finish` does, and store weights in the
    checkpoint's own types (:mod:`xsam_edge.calibration.stored_weights`).
    """
    with fake_tensors():
        model = XSam(request.config, dialect=request.dialect)
    shapes = tensor_shapes(model)
    narrow = narrow_names(request.weights) if not finished else frozenset()
    check_space(folder, bundle_bytes(request.config, shapes, request.precision, narrow))
    graphs = {}
    for name in GRAPHS:
        progress(Step(f"{name}: trace"))
        graphs[name] = _build_and_write(request, model, name, folder, progress, finished)
    return seal(request, folder, request.precision, request.precision, graphs, progress, finished=finished)


def narrow_names(weights: WeightSource) -> frozenset[str]:
    """Names of the tensors that are stored in 16 bits."""
    return frozenset(name for name in weights.shapes if weights.dtype(name) in ("float16", "bfloat16"))


def bundle_bytes(
    config: ModelConfig,
    shapes: Mapping[str, tuple[int, ...]],
    precision: FloatType,
    narrow: frozenset[str] = frozenset(),
) -> int:
    """About how many bytes a bundle takes, of the tensors that :func:`expected_tensors` names.

    Those of ``narrow`` take 16 bits at any precision.
    """
    sizes = {
        name: prod(shape) * (2 if name in narrow else _NUMPY[precision].itemsize) for name, shape in shapes.items()
    }
    if config.llm.tie_word_embeddings:  # written twice: as embeddings and as the head of the graph
        sizes["head"] = sizes[EMBEDDINGS]
    return sum(sizes.values())


def build_graph(model: XSam, name: str, precision: FloatType = "fp32") -> tuple[ir.Model, dict[str, WeightPlan]]:
    """Trace a graph, evaluate and name what can be, apply a float type. Weights are left to be written."""
    graph = trace(GRAPHS[name](model))
    simplify(graph)
    rename(graph)
    infer_types(graph)
    plans = extract_weights(graph)
    if precision == "fp16":
        names = GraphNames(tuple(str(node.name) for node in graph.graph), {}, {})
        chosen = resolve(preset("fp16", names.nodes, dialect=model.dialect), names)
        fp32 = frozenset(node for node, node_precision in chosen.items() if node_precision.float == "fp32")
        apply(graph, plans, FloatTypes("fp16", fp32, FP32_TENSORS))
    graph.graph.name = name
    graph.producer_name = "xsam-edge"
    graph.producer_version = importlib.metadata.version("xsam-edge")
    return graph, plans


def _build_and_write(
    request: BundleRequest, model: XSam, name: str, folder: Path, progress: Progress, finished: bool
) -> GraphSpec:
    graph, plans = build_graph(model, name, request.precision)
    if finished:
        finish(graph, request.dialect)
    else:
        narrow(graph.graph, stored_types(plans, request.weights))
    return write_graph(graph, plans, request.weights, name, folder, progress)


def finish(graph: ir.Model, dialect: Dialect) -> None:
    """What a dialect makes of a graph whose types are set, in place."""
    if dialect == "cuda":
        fuse_attention(graph)


def write_graph(
    graph: ir.Model,
    plans: Mapping[str, WeightPlan],
    weights: WeightSource,
    name: str,
    folder: Path,
    progress: Progress,
    *,
    annotated: bool = True,
) -> GraphSpec:
    """Write a finished graph and its weights, and check it.

    ``annotated`` keeps type and shape of every value in the file, a quarter of a small graph's bytes.
    """
    total = sum(stored_bytes(value) for value in graph.graph.initializers.values())
    tally = Tally(progress, f"{name}: weights", total, "bytes")
    file = f"{name}.onnx"
    write_external_data(graph, plans, weights, folder / f"{file}.data", tally)
    spec = graph_spec(graph, file)
    if not annotated:
        outputs = set(graph.graph.outputs)
        for value in (value for node in graph.graph for value in node.outputs if value not in outputs):
            value.type = value.shape = None
    ir.save(graph, folder / file)
    # By path: the checker then reads the external data's layout, but not into memory.
    onnx.checker.check_model(str(folder / file), full_check=True)
    return spec


def seal(
    request: BundleRequest,
    folder: Path,
    precision: str,
    embeddings: FloatType,
    graphs: Mapping[str, GraphSpec],
    progress: Progress,
    *,
    degraded: bool = False,
    finished: bool = True,
) -> Manifest:
    """Add what a model's precision does not change to a bundle's folder, then the manifest, which binds all files.

    Of graphs that are ``finished`` it says what they have to do.
    """
    if request.dialect != "cpu" and has_pixels(request.settings):
        pixels = write_graph(pixels_graph(request.settings), {}, request.weights, contract.PIXELS, folder, progress)
        graphs = {**graphs, contract.PIXELS: pixels}
    rows, columns = request.config.llm.vocab_size, request.config.llm.hidden_size
    _write_embeddings(request.weights, (rows, columns), _NUMPY[embeddings], folder / EMBEDDINGS_FILE, progress)
    (folder / TOKENIZER_FILE).write_text(request.tokenizer_json, encoding="utf-8")
    config = json.dumps(dataclasses.asdict(request.config), indent=1)
    (folder / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
    manifest = Manifest(
        variant=request.variant,
        precision=precision,
        source=request.source,
        settings=request.settings,
        embeddings=EmbeddingTable(_NUMPY[embeddings].name, rows, columns),
        graphs=graphs,
        files=hash_files(folder, progress),
        activations=activation_sizes(request.config, request.dialect),
        producer={name: importlib.metadata.version(name) for name in _PRODUCERS},
        degraded=degraded,
        dialect=request.dialect,
        precision_why=request.precision_why,
        work=record(folder, graphs, progress) if finished else {},
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _write_embeddings(
    weights: WeightSource, shape: tuple[int, int], dtype: np.dtype, path: Path, progress: Progress
) -> None:
    tally = Tally(progress, "token embeddings", shape[0] * shape[1] * dtype.itemsize, "bytes")
    with path.open("wb") as file:
        for start, stop in blocks(shape):
            rows = weights.read_rows(EMBEDDINGS, start, stop)
            file.write(np.ascontiguousarray(cast(rows, dtype, EMBEDDINGS)).data)
            tally.add((stop - start) * shape[1] * dtype.itemsize)
