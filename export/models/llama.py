"""Llama (arXiv 2302.13971): separate projections, grouped queries, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.tensor_shapes import Shapes, divide
from xsam_edge.export.models.architecture import FIRST_LAYER, Architecture, LayerModule, Linear, Modules

if TYPE_CHECKING:
    from torch import Tensor


def attention(config: LLMConfig) -> Modules:
    """One projection each for queries, keys and values."""
    return {
        "q_proj": Linear(config.hidden_size, config.num_heads * config.head_dim),
        "k_proj": Linear(config.hidden_size, config.num_kv_heads * config.head_dim),
        "v_proj": Linear(config.hidden_size, config.num_kv_heads * config.head_dim),
    }


def project(module: LayerModule, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See ``Architecture.project``."""
    heads = (-1, module.config.head_dim)
    query = module.q_proj(x).unflatten(-1, heads)
    key = module.k_proj(x).unflatten(-1, heads)
    return query, key, module.v_proj(x).unflatten(-1, heads)


def mlp(config: LLMConfig) -> Modules:
    """Gate, up and down."""
    return {
        "gate_proj": Linear(config.hidden_size, config.intermediate_size),
        "up_proj": Linear(config.hidden_size, config.intermediate_size),
        "down_proj": Linear(config.intermediate_size, config.hidden_size),
    }


def feed_forward(module: LayerModule, x: Tensor) -> Tensor:
    """SwiGLU (arXiv 2002.05202)."""
    return module.down_proj(module.silu(module.gate_proj(x)) * module.up_proj(x))


def sizes(tensors: Shapes, heads: int | None) -> dict[str, int]:
    """See ``Architecture.sizes``: nothing tells the heads."""
    told = {"intermediate_size": tensors.shape(f"{FIRST_LAYER}.mlp.gate_proj.weight", 2)[0]}
    if heads is None:
        return told
    query, key = (tensors.shape(f"{FIRST_LAYER}.self_attn.{name}.weight", 2)[0] for name in ("q_proj", "k_proj"))
    head_dim = divide(query, heads, "rows of q_proj by heads")
    kv_heads = divide(key, head_dim, "rows of k_proj by head size")
    return told | {"num_heads": heads, "num_kv_heads": kv_heads, "head_dim": head_dim}


ARCHITECTURE = Architecture(
    attention=attention,
    mlp=mlp,
    project=project,
    feed_forward=feed_forward,
    sizes=sizes,
    defaults={"rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    supported={"mlp_bias": (False, None)},
)
