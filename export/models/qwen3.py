"""Qwen3 (arXiv 2505.09388): grouped queries, a norm on each head's queries and keys, tied embeddings."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.models.llm import Attention, CausalLM, RMSNorm


class Qwen3Attention(Attention):
    """Separate projections; queries and keys are normed per head before rotation."""

    def __init__(self, config: LLMConfig) -> None:
        super().__init__(config)
        self.q_proj = nn.Linear(config.hidden_size, config.num_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_kv_heads * config.head_dim, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Attention.project``."""
        heads = (-1, self.config.head_dim)
        query = self.q_norm(self.q_proj(x).unflatten(-1, heads))
        key = self.k_norm(self.k_proj(x).unflatten(-1, heads))
        return query, key, self.v_proj(x).unflatten(-1, heads)


class Qwen3MLP(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: LLMConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] to the same shape."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Qwen3(CausalLM):
    """``model_type`` "qwen3"."""

    def __init__(self, config: LLMConfig) -> None:
        super().__init__(config, Qwen3Attention, Qwen3MLP)
