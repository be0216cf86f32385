"""Qwen3 (arXiv 2505.09388): Llama with a norm on each head's queries and keys, and heads of a size of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.tensor_shapes import Shapes, divide
from xsam_edge.export.models import llama
from xsam_edge.export.models.architecture import FIRST_LAYER, Architecture, LayerModule, Modules, Norm

if TYPE_CHECKING:
    from torch import Tensor


def attention(config: LLMConfig) -> Modules:
    """Llama's projections; queries and keys are normed per head before rotation."""
    return {**llama.attention(config), "q_norm": Norm(config.head_dim), "k_norm": Norm(config.head_dim)}


def project(module: LayerModule, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See ``Architecture.project``."""
    heads = (-1, module.config.head_dim)
    query = module.q_norm(module.q_proj(x).unflatten(-1, heads))
    key = module.k_norm(module.k_proj(x).unflatten(-1, heads))
    return query, key, module.v_proj(x).unflatten(-1, heads)


def sizes(tensors: Shapes, _heads: int | None) -> dict[str, int]:
    """See ``Architecture.sizes``: the norms tell the size of a head."""
    (head_dim,) = tensors.shape(f"{FIRST_LAYER}.self_attn.q_norm.weight", 1)
    query = tensors.shape(f"{FIRST_LAYER}.self_attn.q_proj.weight", 2)[0]
    return llama.sizes(tensors, divide(query, head_dim, "rows of q_proj by head size"))


def windows(config: Mapping[str, Any]) -> Collection[int | None]:
    """Of every layer: a switch, and a kind per layer or the layer from which on windows count."""
    if not config.get("use_sliding_window", False):
        return (None,)
    first, layers = config.get("max_window_layers", 28), range(config.get("num_hidden_layers", 32))
    kinds = config.get("layer_types") or ["full_attention" if i < first else "sliding_attention" for i in layers]
    return {config.get("sliding_window", 4096) if kind == "sliding_attention" else None for kind in kinds}


ARCHITECTURE = Architecture(
    attention=attention,
    mlp=llama.mlp,
    project=project,
    feed_forward=llama.feed_forward,
    sizes=sizes,
    defaults={"rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "num_key_value_heads": 32, "head_dim": 128},
    windows=windows,
)
