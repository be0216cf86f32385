"""FP32 bundles whose weights are scaled up in one place and down in the next: the same function, with larger values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

# In each place a value overflows FP16; the nodes that make it or read it.
PLACES = {
    "SigLIP's attention": (
        "/vision_encoder/vision_model/encoder/layers.1/self_attn/v_proj/Add",
        "/vision_encoder/vision_model/encoder/layers.1/self_attn/out_proj/MatMul",
    ),
    "SAM's attention": (
        "/segmentor/encoder/layers.1/attn/qkv/Add",
        "/segmentor/encoder/layers.1/attn/proj/MatMul",
    ),
    "a projector": ("/seg_projector/model.0/Add", "/seg_projector/model.2/MatMul"),
    "a SwiGLU product": ("/llm/model/layers.2/mlp/Mul_1", "/llm/model/layers.2/mlp/down_proj/MatMul"),
}
_SCALE = 2.0**15  # weights stay within FP16


def overflow(bundle: Path) -> None:
    """Let values overflow in all ``PLACES`` of an FP32 bundle of the demo model, in place."""
    siglip = "vision_encoder.vision_model.encoder.layers.1.self_attn"
    for part in ("v_proj.weight.T", "v_proj.bias"):
        scale(bundle, "image_encoder", f"{siglip}.{part}", _SCALE)
    scale(bundle, "image_encoder", f"{siglip}.out_proj.weight.T", 1 / _SCALE)
    for part in ("qkv.weight.T", "qkv.bias"):
        scale(bundle, "image_encoder", f"segmentor.encoder.layers.1.attn.{part}", _SCALE, start=2 / 3)
    scale(bundle, "image_encoder", "segmentor.encoder.layers.1.attn.proj.weight.T", 1 / _SCALE)
    for part in ("weight.T", "bias"):  # the activation between both is as good as linear then: another, if equal, model
        scale(bundle, "image_encoder", f"seg_projector.model.0.{part}", _SCALE)
    scale(bundle, "image_encoder", "seg_projector.model.2.weight.T", 1 / _SCALE)
    scale(bundle, "llm", "llm.model.layers.2.mlp.gate_up_proj.weight.T", _SCALE, start=1 / 2)
    scale(bundle, "llm", "llm.model.layers.2.mlp.down_proj.weight.T", 1 / _SCALE)


def scale(bundle: Path, graph: str, weight: str, factor: float, start: float = 0.0) -> None:
    """Multiply the outputs of a stored weight or bias, which lie on its last axis, from a share of them on."""
    path = bundle / f"{graph}.onnx"
    model = ir.load(path)
    tensor = model.graph.initializers[weight].const_value
    shape = tuple(tensor.shape.numpy())
    first = round(start * shape[-1])
    if isinstance(tensor, ir.ExternalTensor):
        file = np.memmap(bundle / f"{graph}.onnx.data", np.float32, "r+", tensor.offset or 0, shape)
        file[..., first:] *= factor
        file.flush()
        return
    raise AssertionError(f"{weight} is not in the data file")
