"""Phi-3 (arXiv 2404.14219): fused projections, no grouped queries in the mini model, a sliding window."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.tensor_shapes import Shapes, divide
from xsam_edge.export.models.architecture import FIRST_LAYER, Architecture, LayerModule, Linear, Modules

if TYPE_CHECKING:
    from torch import Tensor


def attention(config: LLMConfig) -> Modules:
    """Queries, keys and values from one projection, in this order."""
    heads = config.num_heads + 2 * config.num_kv_heads
    return {"qkv_proj": Linear(config.hidden_size, heads * config.head_dim)}


def project(module: LayerModule, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See ``Architecture.project``."""
    config = module.config
    heads = module.qkv_proj(x).unflatten(-1, (-1, config.head_dim))
    query, key, value = heads.split([config.num_heads, config.num_kv_heads, config.num_kv_heads], dim=-2)
    return query, key, value


def mlp(config: LLMConfig) -> Modules:
    """Gate and up from one projection."""
    return {
        "gate_up_proj": Linear(config.hidden_size, 2 * config.intermediate_size),
        "down_proj": Linear(config.intermediate_size, config.hidden_size),
    }


def feed_forward(module: LayerModule, x: Tensor) -> Tensor:
    """SwiGLU (arXiv 2002.05202)."""
    gate, up = module.gate_up_proj(x).chunk(2, dim=-1)
    return module.down_proj(up * module.silu(gate))


def sizes(tensors: Shapes, heads: int | None) -> dict[str, int]:
    """See ``Architecture.sizes``: nothing tells the heads."""
    gate_up = tensors.shape(f"{FIRST_LAYER}.mlp.gate_up_proj.weight", 2)[0]
    told = {"intermediate_size": divide(gate_up, 2, "rows of gate_up_proj")}
    if heads is None:
        return told
    columns = tensors.shape(f"{FIRST_LAYER}.self_attn.o_proj.weight", 2)[1]
    head_dim = divide(columns, heads, "columns of Phi-3's o_proj by heads")
    rows = tensors.shape(f"{FIRST_LAYER}.self_attn.qkv_proj.weight", 2)[0]
    both = divide(rows, head_dim, "rows of Phi-3's qkv_proj by head size") - heads
    kv_heads = divide(both, 2, "key and value heads in Phi-3's qkv_proj")
    return told | {"num_heads": heads, "num_kv_heads": kv_heads, "head_dim": head_dim}


def windows(config: Mapping[str, Any]) -> Collection[int | None]:
    """One for all layers."""
    return (config.get("sliding_window"),)


ARCHITECTURE = Architecture(
    attention=attention,
    mlp=mlp,
    project=project,
    feed_forward=feed_forward,
    sizes=sizes,
    defaults={"rms_norm_eps": 1e-5, "max_position_embeddings": 4096},
    windows=windows,
)
