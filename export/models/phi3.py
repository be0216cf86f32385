"""Phi-3 (arXiv 2404.14219): fused projections, no grouped queries in the mini model, a sliding window."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.models.llm import Attention, CausalLM


class Phi3Attention(Attention):
    """Queries, keys and values from one projection."""

    def __init__(self, config: LLMConfig) -> None:
        super().__init__(config)
        width = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Attention.project``."""
        config = self.config
        heads = self.qkv_proj(x).unflatten(-1, (-1, config.head_dim))
        query, key, value = heads.split([config.num_heads, config.num_kv_heads, config.num_kv_heads], dim=2)
        return query, key, value


class Phi3MLP(nn.Module):
    """SwiGLU with gate and up from one projection (arXiv 2002.05202)."""

    def __init__(self, config: LLMConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] to the same shape."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(up * F.silu(gate))


class Phi3(CausalLM):
    """``model_type`` "phi3"."""

    def __init__(self, config: LLMConfig) -> None:
        super().__init__(config, Phi3Attention, Phi3MLP)
