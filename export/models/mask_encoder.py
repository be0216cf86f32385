"""SAM's image encoder up to the deepest hidden state that X-SAM reads (arXiv 2304.02643).

A ViT with windowed and global attention and decomposed relative positions (arXiv 2112.01526). The neck takes no part
in X-SAM and is not created; nor are layers deeper than the deepest tapped state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import MaskEncoderConfig
from xsam_edge.export.models.activation_functions import activation
from xsam_edge.runtime.bundle.contract import Dialect

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def relative_positions(table: Tensor, size: int) -> Tensor:
    """Embeddings of all pairs of positions on one axis, [size, size, C] with ``out[q, k] = table[q - k + size - 1]``.

    Args:
        table: [L, C]; resampled linearly where L is not ``2 * size - 1`` (``SamVisionAttention.get_rel_pos``).
        size: positions on the axis.
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        table = F.interpolate(table.transpose(0, 1)[None], size=length, mode="linear")[0].transpose(0, 1)
    position = torch.arange(size, device=table.device)
    index = position[:, None] - position[None, :] + (size - 1)
    return torch.index_select(table, 0, index.reshape(-1)).reshape(size, size, table.shape[1])


def partition_windows(x: Tensor, window: int) -> Tensor:
    """[B, H, W, C] to [B * windows, window, window, C], zero-padded below and to the right to whole windows."""
    batch, height, width, channels = x.shape
    pad_height, pad_width = -height % window, -width % window
    if pad_height or pad_width:
        x = F.pad(x, (0, 0, 0, pad_width, 0, pad_height))
    rows, columns = (height + pad_height) // window, (width + pad_width) // window
    x = x.reshape(batch, rows, window, columns, window, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch * rows * columns, window, window, channels)


def merge_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Undoes ``partition_windows``: [B * windows, window, window, C] to [B, height, width, C]."""
    window, channels = windows.shape[1], windows.shape[3]
    rows, columns = -(-height // window), -(-width // window)
    x = windows.reshape(-1, rows, columns, window, window, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, rows * window, columns * window, channels)[:, :height, :width]


def summed_positions(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention of a map's cells to one another, with the position terms of both axes summed to one bias first.

    Args:
        query: [B, heads, H * W, C], scaled.
        key: [B, heads, H * W, C].
        value: [B, heads, H * W, C].
        rows: added to the scores with the keys of a row, [B, heads, H * W, H].
        columns: added to the scores with the keys of a column, [B, heads, H * W, W].

    Returns:
        [B, heads, H * W, C].
    """
    bias = (rows[..., None] + columns[..., None, :]).flatten(3)
    mixed: Tensor = torch.softmax(query @ key.transpose(2, 3) + bias, dim=-1) @ value
    return mixed


def positions_as_channels(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The same as ``summed_positions``, without a bias: a term is a channel, which is one in the keys of its place.

    A bias is as large as the scores. Of queries, keys and values of one width, a multiple of eight as tensor cores take
    them, NVIDIA's compiler makes one kernel, and neither bias nor scores ever lie in memory.
    """
    channels, height, width = key.shape[-1], rows.shape[-1], columns.shape[-1]
    wide = -(-(channels + height + width) // 8) * 8
    row = torch.eye(height, dtype=key.dtype, device=key.device)[:, None].expand(-1, width, -1)
    column = torch.eye(width, dtype=key.dtype, device=key.device).expand(height, -1, -1)
    places = _widen(F.pad(torch.cat((row, column), dim=-1).flatten(0, 1), (channels, 0)), wide)
    scores = _widen(torch.cat((query, rows, columns), dim=-1), wide) @ (_widen(key, wide) + places).transpose(2, 3)
    return (torch.softmax(scores, dim=-1) @ _widen(value, wide))[..., :channels]


def _widen(x: Tensor, width: int) -> Tensor:
    """[..., C] to [..., width], with zeros behind."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


class MaskAttention(nn.Module):
    """Multi-head self-attention over a square map, with decomposed relative positions."""

    def __init__(self, config: MaskEncoderConfig, size: int, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.num_heads = config.num_heads
        self.head_dim = config.hidden_size // config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, self.head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same shape."""
        batch, height, width, channels = x.shape
        tokens = height * width
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)

        # The position terms are matrix products of the unscaled query with a table that depends on its row (column).
        grid = query.reshape(batch * self.num_heads, height, width, self.head_dim)
        rows = grid @ relative_positions(self.rel_pos_h, height).transpose(1, 2)
        columns = grid.transpose(1, 2) @ relative_positions(self.rel_pos_w, width).transpose(1, 2)
        rows = rows.reshape(batch, self.num_heads, tokens, height)
        columns = columns.transpose(1, 2).reshape(batch, self.num_heads, tokens, width)

        mixed = self.attend(query * self.head_dim**-0.5, key, value, rows, columns)
        x = self.proj(mixed.transpose(1, 2).reshape(batch, height, width, channels))
        return x


class MaskMLP(nn.Module):
    """Linear, activation, Linear."""

    def __init__(self, config: MaskEncoderConfig) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config.hidden_size, config.mlp_dim)
        self.lin2 = nn.Linear(config.mlp_dim, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] to the same shape."""
        x = self.lin2(self.activation(self.lin1(x)))
        return x


class MaskLayer(nn.Module):
    """Pre-norm transformer layer; ``window`` 0 attends to the whole map."""

    def __init__(self, config: MaskEncoderConfig, window: int, dialect: Dialect) -> None:
        super().__init__()
        self.window = window
        attend = summed_positions if dialect == "cpu" else positions_as_channels
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = MaskAttention(config, window or config.grid, attend)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MaskMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same shape."""
        normed = self.layer_norm1(x)
        if self.window:
            # Padding comes after the norm: padded cells are zero and take part in the attention of their window.
            attended = self.attn(partition_windows(normed, self.window))
            x = x + merge_windows(attended, x.shape[1], x.shape[2])
        else:
            x = x + self.attn(normed)
        x = x + self.mlp(self.layer_norm2(x))
        return x


class PatchEmbed(nn.Module):
    """Patches of the image as a map."""

    def __init__(self, config: MaskEncoderConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, grid, grid, hidden_size]."""
        patches: Tensor = self.projection(pixel_values)
        return patches.permute(0, 2, 3, 1)


class MaskEncoder(nn.Module):
    """SAM ViT: normalised pixels to the hidden states that X-SAM reads (0 is the embeddings with positions)."""

    def __init__(self, config: MaskEncoderConfig, dialect: Dialect = "cpu") -> None:
        super().__init__()
        states = config.num_layers + 1
        self.taps = tuple(tap % states for tap in config.taps)
        self.selected = config.select_layer % states
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.hidden_size))
        self.layers = nn.ModuleList(
            MaskLayer(config, 0 if index in config.global_attention_layers else config.window_size, dialect)
            for index in range(max(*self.taps, self.selected))
        )

    def hidden_states(self, pixel_values: Tensor) -> list[Tensor]:
        """All computed hidden states, [B, grid, grid, hidden_size] each."""
        states = [self.patch_embed(pixel_values) + self.pos_embed]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    def forward(self, pixel_values: Tensor) -> tuple[list[Tensor], Tensor]:
        """[B, 3, H, W] to the tapped states, in the order of ``config.taps``, and the state for ``seg_projector``."""
        states = self.hidden_states(pixel_values)
        return [states[tap] for tap in self.taps], states[self.selected]
