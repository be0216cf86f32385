"""Attention by torch's fused operator, as PyTorch's users have it: ``scaled_dot_product_attention`` in every part."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.models.llm import Attention, KeyValue
from xsam_edge.export.models.mask_encoder import MaskAttention
from xsam_edge.export.models.vision_encoder import VisionAttention
from xsam_edge.export.models.xsam import XSam


def joined_sdpa(query: Tensor, new: KeyValue, past: KeyValue, bias: Tensor) -> Tensor:
    """``export.models.llm.cached_attention`` by the fused operator; arguments and result are the same."""
    batch, length, heads, head_dim = query.shape
    keys, values = (
        torch.cat((old.expand(batch, -1, -1, -1), own), 1).transpose(1, 2) for old, own in zip(past, new, strict=True)
    )
    shared = keys.shape[1] != heads
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2), keys, values, attn_mask=bias, scale=1.0, enable_gqa=shared
    )
    return mixed.transpose(1, 2).reshape(batch, length, heads * head_dim)


def summed_sdpa(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``export.models.mask_encoder.summed_positions`` by the fused operator; arguments and result are the same."""
    bias = (rows[..., None] + columns[..., None, :]).flatten(3)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)


class _FusedVision(nn.Module):
    """SigLIP's attention with the weights of another."""

    def __init__(self, attention: VisionAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to the same shape."""
        own = self.attention
        query, key, value = (
            project(x).unflatten(-1, (own.num_heads, own.head_dim)).transpose(1, 2)
            for project in (own.q_proj, own.k_proj, own.v_proj)
        )
        mixed: Tensor = own.out_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


def fuse(model: XSam) -> XSam:
    """Give the language model and both encoders fused attention, in place; weights stay."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.attend = joined_sdpa
        elif isinstance(module, MaskAttention):
            module.attend = summed_sdpa
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, VisionAttention) and not isinstance(parent, _FusedVision):
                setattr(parent, name, _FusedVision(child))
    return model
