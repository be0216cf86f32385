"""Graphs at true widths and of few layers, written in seconds: their weights are one block of random numbers, over and
over, each from another place on.
"""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xsam_edge.export.bundle import build_graph, finish, write_graph
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.engines.build import BuiltEngine, EngineJob, build_engine
from xsam_edge.export.engines.convert import figures
from xsam_edge.export.engines.flavours import capable
from xsam_edge.export.engines.profiles import input_shapes, profiles_for
from xsam_edge.export.graph.graphs import FP32_TENSORS, graph_spec
from xsam_edge.export.graph.trace import fake_tensors
from xsam_edge.export.graph.weights import external_layout
from xsam_edge.export.models.xsam import XSam
from xsam_edge.export.precision.plan import CachePrecision, FloatType, Precision, resolve
from xsam_edge.export.precision.presets import preset
from xsam_edge.export.quantization.kv_cache import CacheCodes, new_rows
from xsam_edge.export.quantization.lowering import lower, open_graph
from xsam_edge.export.quantization.sites import graph_names
from xsam_edge.runtime.bundle.engine_info import EngineFigures
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.bundle.settings import ModelFacts
from xsam_edge.runtime.progress import silent

CAPABILITIES = ("8.6", "8.9", "12.0")
_BLOCK = 1 << 22
_STARTS = 9973


def shallow(variant: str, layers: int) -> ModelConfig:
    """A variant with few layers, and encoders of one of each kind."""
    config = VARIANTS[variant].config
    return replace(
        config,
        llm=replace(config.llm, num_layers=layers, context_length=4096),
        vision_encoder=replace(config.vision_encoder, num_layers=3),
        mask_encoder=replace(
            config.mask_encoder, num_layers=4, global_attention_layers=(1, 3), taps=(2, 3, 4), select_layer=-2
        ),
    )


def facts(config: ModelConfig) -> ModelFacts:
    """What profiles depend on."""
    llm, decoder = config.llm, config.mask_decoder
    return ModelFacts(
        hidden_size=llm.hidden_size,
        embed_size=decoder.hidden_dim,
        vocab_size=llm.vocab_size,
        num_layers=llm.num_layers,
        num_kv_heads=llm.num_kv_heads,
        head_dim=llm.head_dim,
        context_length=llm.context_length,
        image_tokens=config.vision_tokens + config.mask_tokens,
        region_grid=(1, 1),
        mask_grid=(1, 1),
        num_queries=decoder.num_queries,
    )


def write(
    config: ModelConfig,
    name: str,
    folder: Path,
    precision: Precision = "fp16",
    kv_cache: CachePrecision | None = None,
) -> GraphSpec:
    """Write a graph for GPUs. What is quantised has one range for all activations, and one for all heads."""
    if precision == "fp16" and kv_cache is None:
        return _write(config, name, folder, "fp16")
    base = folder / "base"
    base.mkdir()
    _write(config, name, base, "fp32")
    opened = open_graph(base / f"{name}.onnx")
    names = graph_names({name: (opened.model.graph, opened.plans)})
    plan = preset(precision, names.nodes, dialect="gpu")
    cache = None
    if kv_cache is not None:
        heads = np.full(config.llm.num_kv_heads, 8, np.float32)
        cache = CacheCodes(kv_cache, {str(value.name): heads for value in new_rows(opened.model.graph)})
    lower(opened, plan.float, resolve(plan, names), dict.fromkeys(names.nodes, 8.0), FP32_TENSORS, cache=cache)
    finish(opened.model, "gpu")
    spec = write_graph(opened.model, opened.plans, opened.source, name, folder, silent, annotated=False)
    shutil.rmtree(base)
    return spec


def _write(config: ModelConfig, name: str, folder: Path, precision: FloatType) -> GraphSpec:
    with fake_tensors():
        model = XSam(config, dialect="gpu")
    graph, plans = build_graph(model, name, precision)
    values = graph.graph.initializers
    numbers = np.random.default_rng(0).standard_normal(_BLOCK + _STARTS, np.float32) * np.float32(0.02)
    blocks = {dtype: numbers.astype(dtype) for dtype in (np.float16, np.float32)}
    with (folder / f"{name}.onnx.data").open("wb") as file:
        for key, (offset, length) in external_layout(graph, plans).items():
            value = values[key]
            assert value.dtype is not None and value.shape is not None
            file.seek(offset)
            if value.const_value is not None:
                file.write(value.const_value.numpy().tobytes())
            else:
                block = blocks[value.dtype.numpy().type][zlib.crc32(key.encode()) % _STARTS :].view(np.uint8)
                for start in range(0, length, len(block)):
                    file.write(block[: length - start].data)
            value.const_value = ir.ExternalTensor(
                f"{name}.onnx.data", offset, length, value.dtype, shape=value.shape, name=key, base_dir=folder
            )
    ir.save(graph, folder / f"{name}.onnx")
    return graph_spec(graph, f"{name}.onnx")


@dataclass(frozen=True)
class Built:
    """A graph's engine for those of ``CAPABILITIES`` that have its types, and the bytes of the graph's weights."""

    engine: BuiltEngine
    figures: EngineFigures
    weights: int

    def megabytes(self, profile: str) -> float:
        """Activations of a profile."""
        return self.figures.profiles[profile].scratch_bytes / 1e6


def build(
    config: ModelConfig,
    name: str,
    folder: Path,
    context: int = 4096,
    precision: Precision = "fp16",
    kv_cache: CachePrecision | None = None,
) -> Built:
    """Write a graph and compile it, and leave nothing in the folder."""
    spec = write(config, name, folder, precision, kv_cache)
    capabilities = capable(CAPABILITIES, spec.codes, name)
    profiles = profiles_for(spec, name, facts(config), context)
    shapes = tuple(input_shapes(spec, profile) for profile in profiles)
    onnx, engine = folder / f"{name}.onnx", folder / f"{name}.engine"
    weights = (folder / f"{name}.onnx.data").stat().st_size
    built = build_engine(EngineJob(name, onnx, engine, "tensorrt-rtx", capabilities, shapes), silent)
    for path in folder.iterdir():
        path.unlink()
    return Built(built, figures(built, profiles), weights)
