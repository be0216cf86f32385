"""What decoder-only language models share: norms, rotary positions, cached attention, the stack of layers.

The contract of every language model here (``CausalLM.forward``): tokens come as embeddings, the cache is read and
never written, and only the new tokens' keys and values are returned. The cache is token-major, [1, tokens, kv_heads,
head_dim], keys after rotation, so that a caller appends to it and trims it along one axis; what it is longer than the
first new token's position is padding. Cached and new keys meet in one of two forms with equal results:
``cached_attention`` copies no cached row, ``joined_attention`` is what a compiler for GPUs makes one kernel of.

Linear layers take rows, [B * S, channels], whatever the batch: that compiler stores a weight once for each form of the
product that it finds in an engine's profiles, and so finds one.

What sets a type apart, its projections and its feed-forward module, is its ``Architecture``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.models.architecture import Architecture, Modules, Norm
from xsam_edge.export.models.masking import hide
from xsam_edge.export.models.registry import get_architecture
from xsam_edge.runtime.bundle.contract import Dialect

KeyValue = tuple[Tensor, Tensor]


class RMSNorm(nn.Module):
    """Root mean square norm with a learned scale (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] to the same shape."""
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Linear(nn.Linear):
    """A linear layer of rows that is a MatMul in a graph: of torch's own two axes make a Gemm.

    Quantised Gemms run nowhere well.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """[n, inputs] to [n, outputs]."""
        product = rows @ self.weight.T
        return product if self.bias is None else product + self.bias


class Rotary(nn.Module):
    """Cosines and sines of rotary positions (RoPE, arXiv 2104.09864).

    A module so that its nodes carry its name in a graph: angles need float32, where float16 has no whole numbers past
    2048.
    """

    def __init__(self, config: LLMConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, position_ids: Tensor) -> KeyValue:
        """Int64 [B, S] to [B, S, 1, head_dim] each, float32."""
        size = self.config.head_dim
        exponent = torch.arange(0, size, 2, dtype=torch.float32, device=position_ids.device) / size
        angle = position_ids[..., None] * (1.0 / self.config.rope_theta**exponent)
        angle = torch.cat((angle, angle), dim=-1)[:, :, None, :]
        return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Applies rotary positions to [B, S, heads, head_dim]; a pair is a channel and the one half the width on."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def visibility(position_ids: Tensor, past_length: int, window: int | None) -> Tensor:
    """Which keys a new token sees, bool [S, past_length + S].

    Slot j of the cache has position j, a new token the position that ``position_ids`` [1, S] gives it, in ascending
    order. The first of them tells how many slots count: those from there on are padding, which nobody sees. A key is
    seen if it is not ahead of the query and, with a sliding window, less than ``window`` positions behind it.
    """
    query = position_ids[0]
    slot = torch.arange(past_length, dtype=query.dtype, device=query.device)
    behind = (slot < query[:1]).expand(query.shape[0], past_length)
    seen = torch.cat((behind, query[None, :] <= query[:, None]), dim=1)
    if window is not None:
        seen = seen & (torch.cat((slot, query))[None, :] > query[:, None] - window)
    return seen


def cached_attention(query: Tensor, new: KeyValue, past: KeyValue, bias: Tensor) -> Tensor:
    """Grouped-query attention of new tokens to cached and new ones.

    Args:
        query: [B, S, heads, head_dim], scaled.
        new: keys and values of the same tokens, [B, S, kv_heads, head_dim] each.
        past: the cache, [B, P, kv_heads, head_dim] or [1, P, kv_heads, head_dim] each; P may be 0.
        bias: added to the scores, [S, P + S] or [B, 1, S, P + S].

    Returns:
        [B, S, heads * head_dim].
    """
    batch, length, heads, head_dim = query.shape
    past_length, kv_heads = past[0].shape[1:3]
    groups = heads // kv_heads
    # A group's queries share their keys: they stand in one matrix as extra rows, so keys need no repetition.
    rows = query.unflatten(2, (kv_heads, groups)).permute(0, 2, 3, 1, 4)
    rows = rows.reshape(batch, kv_heads, groups * length, head_dim)
    scores = torch.cat([rows @ keys.permute(0, 2, 3, 1) for keys in (past[0], new[0])], dim=-1)
    scores = scores.reshape(batch, kv_heads, groups, length, past_length + length)
    scores = scores + (bias if bias.ndim == 2 else bias[:, :, None])
    weights = torch.softmax(scores, dim=-1).reshape(batch, kv_heads, groups * length, past_length + length)
    mixed = weights[..., :past_length] @ past[1].transpose(1, 2) + weights[..., past_length:] @ new[1].transpose(1, 2)
    mixed = mixed.reshape(batch, kv_heads, groups, length, head_dim).permute(0, 3, 1, 2, 4)
    return mixed.reshape(batch, length, heads * head_dim)


def joined_attention(query: Tensor, new: KeyValue, past: KeyValue, bias: Tensor) -> Tensor:
    """The same as ``cached_attention``, as what a compiler for GPUs makes one kernel of.

    That is a product, an addition, a softmax and a product of joined keys and values: scores then never lie in memory.
    NVIDIA's does not where the queries of a group are rows of one product, so shared keys are repeated. A batch is one
    sequence: its tokens see the past that they share where it lies, which has not to be copied for each of its items.

    Args:
        query: as there.
        new: as there.
        past: the cache, [1, P, kv_heads, head_dim] each.
        bias: [B * S, P + B * S], from ``packed``.

    Returns:
        [B, S, heads * head_dim].
    """
    batch, length, heads, head_dim = query.shape
    keys, values = (
        _repeat(torch.cat((old, own.flatten(0, 1)[None]), dim=1), heads) for old, own in zip(past, new, strict=True)
    )
    scores = query.flatten(0, 1)[None].transpose(1, 2) @ keys.permute(0, 2, 3, 1) + bias
    mixed = torch.softmax(scores, dim=-1) @ values.transpose(1, 2)
    return mixed.transpose(1, 2).reshape(batch, length, heads * head_dim)


def packed(seen: Tensor, batch: int, past_length: int) -> Tensor:
    """Which keys a batch in one sequence sees, from what each of its items does.

    Args:
        seen: bool [S, P + S], or [B, S, P + S].
        batch: B.
        past_length: P.

    Returns:
        Bool [B * S, P + B * S]: the past, then the new tokens of all items, each of which sees its own only.
    """
    seen = seen.expand(batch, *seen.shape[-2:])
    item = torch.arange(batch, device=seen.device)
    # Two comparisons, as ONNX Runtime has kernels of on every GPU; it has none of equality before 1.27.
    same = (item[:, None] <= item) & (item <= item[:, None])
    own = seen[:, :, None, past_length:] & same[:, None, :, None]
    return torch.cat((seen[:, :, :past_length], own.flatten(2)), dim=2).flatten(0, 1)


def _repeat(rows: Tensor, heads: int) -> Tensor:
    """[1, T, kv_heads, head_dim] to [1, T, heads, head_dim], each head as often as queries share it."""
    groups = heads // rows.shape[2]
    return rows if groups == 1 else rows[:, :, :, None].expand(-1, -1, -1, groups, -1).flatten(2, 3)


def add_modules(parent: nn.Module, modules: Modules, config: LLMConfig) -> None:
    """Adds what an architecture lists, in its order."""
    for name, module in modules.items():
        if isinstance(module, Norm):
            parent.add_module(name, RMSNorm(module.size, config.rms_norm_eps))
        else:
            parent.add_module(name, Linear(module.inputs, module.outputs, module.bias))


class Attention(nn.Module):
    """Self-attention with an architecture's projections."""

    def __init__(self, config: LLMConfig, architecture: Architecture, dialect: Dialect) -> None:
        super().__init__()
        self.config, self.project = config, architecture.project
        self.attend = cached_attention if dialect == "cpu" else joined_attention
        self.o_proj = Linear(config.num_heads * config.head_dim, config.hidden_size, bias=False)
        add_modules(self, architecture.attention(config), config)

    def forward(self, x: Tensor, rotary: KeyValue, bias: Tensor, past: KeyValue) -> tuple[Tensor, KeyValue]:
        """[B, S, hidden_size] to the same shape, and the new keys and values."""
        query, key, value = (part.unflatten(0, x.shape[:2]) for part in self.project(self, x.flatten(0, 1)))
        new = (rotate(key, *rotary), value)
        mixed = self.attend(rotate(query, *rotary) * self.config.head_dim**-0.5, new, past, bias)
        return self.o_proj(mixed.flatten(0, 1)).unflatten(0, x.shape[:2]), new


class FeedForward(nn.Module):
    """An architecture's feed-forward module."""

    silu = staticmethod(F.silu)

    def __init__(self, config: LLMConfig, architecture: Architecture) -> None:
        super().__init__()
        self.config, self.feed_forward = config, architecture.feed_forward
        add_modules(self, architecture.mlp(config), config)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, hidden_size] to the same shape."""
        rows: Tensor = self.feed_forward(self, x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return rows


class DecoderLayer(nn.Module):
    """Pre-norm layer of an attention and a feed-forward module."""

    def __init__(self, config: LLMConfig, architecture: Architecture, dialect: Dialect) -> None:
        super().__init__()
        self.self_attn = Attention(config, architecture, dialect)
        self.mlp = FeedForward(config, architecture)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rotary: KeyValue, bias: Tensor, past: KeyValue) -> tuple[Tensor, KeyValue]:
        """[B, S, hidden_size] to the same shape, and the new keys and values."""
        attended, new = self.self_attn(self.input_layernorm(x), rotary, bias, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), new


class Decoder(nn.Module):
    """Embedding table, layers and final norm; exists for the parameter names of checkpoints."""

    def __init__(self, config: LLMConfig, architecture: Architecture, dialect: Dialect) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, architecture, dialect) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class CausalLM(nn.Module):
    """The language model that ``config.model_type`` names; with tied embeddings it has no ``lm_head`` of its own.

    Raises:
        CheckpointError: at construction, for a type that is not known.
    """

    def __init__(self, config: LLMConfig, dialect: Dialect = "cpu") -> None:
        super().__init__()
        self.config, self.dialect = config, dialect
        self.model = Decoder(config, get_architecture(config.model_type), dialect)
        self.rotary = Rotary(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids to rows of the embedding table, [..., hidden_size]; not a part of the exported graph."""
        rows: Tensor = self.model.embed_tokens(ids)
        return rows

    def logits(self, hidden: Tensor) -> Tensor:
        """Normed hidden states [..., hidden_size] to vocabulary logits [..., vocab_size]."""
        head = self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        return hidden @ head.weight.T

    def empty_cache(self) -> list[KeyValue]:
        """The cache before the first token: one pair of [1, 0, kv_heads, head_dim] per layer."""
        empty = self.model.norm.weight.new_zeros((1, 0, self.config.num_kv_heads, self.config.head_dim))
        return [(empty, empty)] * self.config.num_layers

    def forward(
        self,
        inputs_embeds: Tensor,
        position_ids: Tensor,
        past: list[KeyValue],
        logits_positions: Tensor,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, list[KeyValue]]:
        """Runs new tokens after cached ones: a prefill, a decode step or anything between.

        Args:
            inputs_embeds: [B, S, hidden_size].
            position_ids: int64 [B, S], or [1, S] where all sequences stand at the same positions.
            past: keys and values of each layer, [B, P, kv_heads, head_dim], or [1, P, kv_heads, head_dim] where all
                sequences follow the same tokens, as they must in a dialect for GPUs; slot j holds position j, and
                slots from the first new position on are padding, whatever they hold that is finite.
            logits_positions: int64 [N], indices into the B * S new tokens.
            mask: bool [S, P + S] or [B, S, P + S], true where a token sees a key; replaces the rule of ``visibility``,
                which holds where all sequences stand at the same positions.

        Returns:
            Hidden states after the final norm [B, S, hidden_size], logits [N, vocab_size] and the new keys and values
            of each layer, [B, S, kv_heads, head_dim].
        """
        past_length = past[0][0].shape[1]
        seen = visibility(position_ids, past_length, self.config.sliding_window) if mask is None else mask
        if self.dialect != "cpu":
            seen = packed(seen, inputs_embeds.shape[0], past_length)
        elif seen.ndim == 3:
            seen = seen[:, None]
        bias = hide(~seen, inputs_embeds.dtype)
        cosine, sine = self.rotary(position_ids)
        rotary = (cosine.to(inputs_embeds.dtype), sine.to(inputs_embeds.dtype))
        x, new = inputs_embeds, []
        for layer, layer_past in zip(self.model.layers, past, strict=True):
            x, layer_new = layer(x, rotary, bias, layer_past)
            new.append(layer_new)
        hidden = self.model.norm(x)
        return hidden, self.logits(torch.index_select(hidden.flatten(0, 1), 0, logits_positions)), new
