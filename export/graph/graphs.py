"""The three graphs of a bundle: which module, which example inputs, which axes are dynamic.

Names and order of inputs and outputs are those of :mod:`xsam_edge.runtime.bundle.contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from xsam_edge.export.config.sizes import ModelConfig, level_sizes
from xsam_edge.export.graph.trace import TraceRequest
from xsam_edge.export.models.xsam import ImageEncoderGraph, LanguageModelGraph, MaskDecoderGraph, XSam
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.manifest import Codes, GraphSpec, TensorSpec

# Inputs and outputs that are float32 in every precision: pixels come from the host, logits and pooled rows go there,
# and mask features are a factor of mask logits, which are float32 products: a cast would copy them at every prompt.
FP32_TENSORS = (
    contract.PIXEL_VALUES,
    contract.MASK_PIXEL_VALUES,
    contract.LOGITS,
    contract.SEG_HIDDEN,
    contract.SEG_EMBED,
    contract.CONDITION_EMBEDS,
    contract.CLASS_LOGITS,
    contract.MASK_LOGITS,
    contract.MASK_FEATURES,
    *(contract.level_mask_features(level) for level in range(16)),  # more levels than a map can be halved to
)

# Example sizes of dynamic axes. Any will do, but torch.export takes 0 and 1 for constants.
_CODES: Mapping[Codes, ir.DataType] = {
    "int8": ir.DataType.INT8,
    "int4": ir.DataType.INT4,
    "fp8": ir.DataType.FLOAT8E4M3FN,
}

_EXAMPLE = {contract.BATCH: 4, contract.SEQUENCE: 5, contract.PAST: 7, contract.ROWS: 2, contract.CONDITIONS: 3}


def feature_shapes(config: ModelConfig, dialect: Dialect = "cpu") -> dict[str, tuple[int, ...]]:
    """What goes from the image encoder to the mask decoder: name -> shape."""
    decoder, sizes = config.mask_decoder, level_sizes(config)
    mask_grid = sizes[-1]
    shapes: dict[str, tuple[int, ...]] = {contract.MASK_FEATURES: (1, decoder.mask_feature_size, *mask_grid)}
    if dialect == "cpu":
        shapes |= {contract.multi_scale(i): (1, decoder.feature_size, *size) for i, size in enumerate(sizes)}
    else:
        for layer in range(decoder.decoder_layers):
            rows = (1, prod(sizes[layer % decoder.num_levels]), decoder.hidden_dim)
            shapes |= {contract.level_key(layer): rows, contract.level_value(layer): rows}
    shapes |= {
        contract.level_mask_features(i): (1, decoder.mask_feature_size, *size)
        for i, size in enumerate(sizes)
        if size != mask_grid
    }
    return shapes


def _request(
    model: XSam,
    module: nn.Module,
    inputs: Mapping[str, tuple[tuple[int | str, ...], torch.dtype]],
    outputs: list[str],
    listed_from: int | None = None,
) -> TraceRequest:
    """Build example inputs from shapes with named axes. Inputs from ``listed_from`` on are one list argument."""
    dimensions: dict[str, Any] = {}
    examples: list[Any] = []
    dynamic: list[Any] = []
    for shape, dtype in inputs.values():
        examples.append(torch.zeros([_EXAMPLE[a] if isinstance(a, str) else a for a in shape], dtype=dtype))
        axes: dict[int, Any] = {}
        for position, axis in enumerate(shape):
            if isinstance(axis, str):
                axes[position] = dimensions.setdefault(axis, torch.export.Dim(axis, min=0, max=1 << 20))
        dynamic.append(axes)
    if listed_from is not None:
        examples[listed_from:] = [examples[listed_from:]]
        dynamic[listed_from:] = [dynamic[listed_from:]]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return TraceRequest(
        module,
        tuple(examples),
        tuple(dynamic),
        tuple(inputs),
        tuple(outputs),
        {name: names[id(parameter)] for name, parameter in module.named_parameters(remove_duplicate=False)},
    )


def image_encoder(model: XSam) -> TraceRequest:
    """``image_encoder``: nothing is dynamic."""
    config = model.config
    vision, mask = config.vision_encoder, config.mask_encoder
    inputs = {
        contract.PIXEL_VALUES: ((1, vision.num_channels, vision.image_size, vision.image_size), torch.float32),
        contract.MASK_PIXEL_VALUES: ((1, mask.num_channels, mask.image_size, mask.image_size), torch.float32),
    }
    outputs = [contract.IMAGE_EMBEDS, *feature_shapes(config, model.dialect)]
    return _request(model, ImageEncoderGraph(model), inputs, outputs)


def llm(model: XSam) -> TraceRequest:
    """``llm``: the number of prompts, of new tokens, of cached ones and of logits is dynamic."""
    config = model.config.llm
    past = (1, contract.PAST, config.num_kv_heads, config.head_dim)
    inputs: dict[str, tuple[tuple[int | str, ...], torch.dtype]] = {
        contract.INPUTS_EMBEDS: ((contract.BATCH, contract.SEQUENCE, config.hidden_size), torch.float32),
        contract.POSITION_IDS: ((1, contract.SEQUENCE), torch.int64),
        contract.LOGITS_POSITIONS: ((contract.ROWS,), torch.int64),
    }
    outputs = [contract.LOGITS, contract.NEXT_IDS, contract.SEG_HIDDEN]
    for layer in range(config.num_layers):
        inputs |= {contract.past_key(layer): (past, torch.float32), contract.past_value(layer): (past, torch.float32)}
        outputs += [contract.new_key(layer), contract.new_value(layer)]
    return _request(model, LanguageModelGraph(model), inputs, outputs, listed_from=3)


def mask_decoder(model: XSam) -> TraceRequest:
    """``mask_decoder``: the number of prompts and of their conditions is dynamic."""
    embed = model.config.mask_decoder.hidden_dim
    inputs: dict[str, tuple[tuple[int | str, ...], torch.dtype]] = {
        contract.SEG_EMBED: ((contract.BATCH, 1, embed), torch.float32),
        contract.CONDITION_EMBEDS: ((contract.BATCH, contract.CONDITIONS, embed), torch.float32),
    }
    inputs |= {name: (shape, torch.float32) for name, shape in feature_shapes(model.config, model.dialect).items()}
    outputs = [contract.CLASS_LOGITS, contract.MASK_LOGITS]
    return _request(model, MaskDecoderGraph(model), inputs, outputs, listed_from=3)


GRAPHS: Mapping[str, Callable[[XSam], TraceRequest]] = {
    contract.IMAGE_ENCODER: image_encoder,
    contract.LLM: llm,
    contract.MASK_DECODER: mask_decoder,
}


def graph_spec(model: ir.Model, file: str) -> GraphSpec:
    """Inputs and outputs of a finished graph; axes keep their names."""
    quantized = {node.inputs[0].dtype for node in model.graph if node.op_type == "QuantizeLinear" and node.inputs[0]}
    half, full = ir.DataType.FLOAT16 in quantized, ir.DataType.FLOAT in quantized
    codes = {node.inputs[0].dtype for node in model.graph if node.op_type == "DequantizeLinear" and node.inputs[0]}
    return GraphSpec(
        file,
        tuple(_tensor_spec(value) for value in model.graph.inputs),
        tuple(_tensor_spec(value) for value in model.graph.outputs),
        "float16" if half else "float32" if full else None,
        tuple(name for name, dtype in _CODES.items() if dtype in codes),
    )


def _tensor_spec(value: ir.Value) -> TensorSpec:
    assert value.dtype is not None and value.shape is not None and value.name is not None
    axes = [axis if isinstance(axis, int) else str(axis.value) for axis in value.shape]
    if value.name == contract.CLASS_LOGITS:
        axes[-1] = contract.CLASSES  # the tracer calls it an expression, conditions + 1
    return TensorSpec(value.name, value.dtype.numpy().name, tuple(axes))
