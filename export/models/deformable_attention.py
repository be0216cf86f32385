"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159), in two forms with equal results.

Sampling is bilinear with ``align_corners=False`` and zeros outside a map. ``grid_sample`` calls torch's operator per
level. ``gather`` computes the four corners' weights itself and reads rows of the value matrix: it needs nothing but
Floor, Clip, arithmetic and Gather, and no transposed copy of the values. Coordinates are in pixels and need float32:
float16 has no more than four bits left after the point at 64 and above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.runtime.bundle.contract import Dialect

Form = Literal["grid_sample", "gather"]
Sizes = list[tuple[int, int]]

_GATHERED = 1 << 24  # values that are gathered at once, 64 MB in float32


def level_constant(values: list[int], like: Tensor) -> Tensor:
    """``values`` as a vector of the dtype and device of ``like``.

    Made of fill operations, not ``torch.tensor``: a literal loses its data when tracing without weights.
    """
    return torch.cat([torch.full((1,), value, dtype=like.dtype, device=like.device) for value in values])


def reference_points(sizes: Sizes, like: Tensor) -> Tensor:
    """Where each query stands on each level, in pixels with the half pixel removed, [queries, levels, 2] as (x, y).

    Queries are the cells of all levels in row-major order; a cell's centre keeps its relative place on other levels.
    """
    rows, columns = [], []
    for height, width in sizes:
        y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
        x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
        rows.append(y[:, None].expand(height, width).reshape(-1))
        columns.append(x[None, :].expand(height, width).reshape(-1))
    heights = level_constant([height for height, _ in sizes], like)
    widths = level_constant([width for _, width in sizes], like)
    x = torch.cat(columns)[:, None] * widths - 0.5
    y = torch.cat(rows)[:, None] * heights - 0.5
    return torch.stack((x, y), dim=-1)


def lane_constant(values: list[int], like: Tensor, heads: int, points: int) -> Tensor:
    """A value per level, repeated for each of its points and each head, [heads * levels * points]."""
    return level_constant(values, like)[None, :, None].expand(heads, len(values), points).reshape(-1)


def _corners(position: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The lower of two neighbouring cells on an axis and the weights of both.

    The pair is kept inside the map and a weight is ``max(0, 1 - distance)``: inside this is linear interpolation, a
    point within one cell of the border keeps the border cell's share only, and a point farther out gets zeros.
    """
    lower = torch.minimum(torch.floor(position).clamp(min=0.0), (size - 2).clamp(min=0.0))
    offset = position - lower
    has_upper = (size - 1).clamp(max=1.0)  # a map of one cell has no neighbour to share with
    return lower, torch.relu(1 - offset.abs()), torch.relu(1 - (offset - 1).abs()) * has_upper


@dataclass(frozen=True)
class Corners:
    """The four cells around every sample, as an upper and a lower pair of neighbours in a row.

    Of each pair the row of the left cell among the values [samples], and the weights of both [B, queries, lanes, 2].
    """

    rows: tuple[Tensor, Tensor]  # int32
    weights: tuple[Tensor, Tensor]


class CornerSearch(nn.Module):
    """Which cells surround each sample and what they weigh, by arithmetic.

    A module so that its nodes carry its name in a graph, and a precision plan can keep coordinates in float32.
    """

    def forward(self, offsets: Tensor, reference: Tensor, weights: Tensor, sizes: Sizes) -> Corners:
        """Arguments as in ``GatherSampling``; rows are those of values [B * tokens * heads, head_dim].

        Heads, levels and points are one axis of lanes throughout: small axes of their own are slow to broadcast.
        """
        batch, queries, heads, levels, points = weights.shape
        tokens = sum(height * width for height, width in sizes)
        heights, widths = [height for height, _ in sizes], [width for _, width in sizes]

        def lanes(values: list[int], like: Tensor) -> Tensor:
            return lane_constant(values, like, heads, points)

        def positions(axis: int) -> Tensor:
            start = reference[..., axis, None].expand(queries, levels, points).reshape(queries, 1, levels * points)
            return (start + offsets[..., axis].flatten(3)).flatten(2)

        left, left_weight, right_weight = _corners(positions(0), lanes(widths, offsets))
        top, top_weight, bottom_weight = _corners(positions(1), lanes(heights, offsets))
        # Integers from here: float32 counts exactly to 2**24 only.
        left, top = left.to(torch.int32), top.to(torch.int32)
        starts = [heads * sum(height * width for height, width in sizes[:level]) for level in range(levels)]
        head = torch.arange(heads, dtype=torch.int32, device=offsets.device)[:, None]
        head = head.expand(heads, levels * points).reshape(-1)
        image = torch.arange(batch, dtype=torch.int32, device=offsets.device)[:, None, None] * (tokens * heads)
        stride = lanes([heads * width for width in widths], left)
        top_left = top * stride + left * heads + (lanes(starts, left) + head + image)
        down = lanes([heads * width * min(height - 1, 1) for height, width in sizes], left)
        upper, lower = (weights.flatten(2) * weight for weight in (top_weight, bottom_weight))
        return Corners(
            (top_left.reshape(-1), (top_left + down).reshape(-1)),
            (
                torch.stack((upper * left_weight, upper * right_weight), dim=-1),
                torch.stack((lower * left_weight, lower * right_weight), dim=-1),
            ),
        )


def mix_by_products(pairs: Tensor, rows: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor]) -> Tensor:
    """Weighted sums of pairs of neighbours, by a product of a row and a matrix per query and head.

    On a CPU products and sums of their own would each cost a pass over memory. Queries are divided, or what is gathered
    would be the largest tensor of the whole model by far.

    Args:
        pairs: a cell's values and its right neighbour's, [cells, 2 * head_dim].
        rows: of ``pairs``, for each sample of each query and head, int32 [queries * samples]; upper and lower.
        weights: of both cells of each, [queries, samples * 2]; upper and lower.

    Returns:
        [queries, head_dim].
    """
    queries, lanes = weights[0].shape
    width = pairs.shape[1] // 2
    at_once = max(1, _GATHERED // (lanes * width))
    parts = -(-queries // at_once)
    counts = [queries * (part + 1) // parts - queries * part // parts for part in range(parts)]

    def mix(row: Tensor, weight: Tensor) -> Tensor:
        return weight[:, None] @ torch.index_select(pairs, 0, row).reshape(-1, lanes, width)

    row_parts = (row.split([lanes // 2 * count for count in counts]) for row in rows)
    weight_parts = (weight.split(counts) for weight in weights)
    upper, lower = (map(mix, *both) for both in zip(row_parts, weight_parts, strict=True))
    return torch.cat([a + b for a, b in zip(upper, lower, strict=True)])


def mix_by_sums(pairs: Tensor, rows: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor]) -> Tensor:
    """The same as ``mix_by_products``, by sums that NVIDIA's compiler fuses with what is gathered: it never exists."""
    queries, lanes = weights[0].shape
    width = pairs.shape[1] // 2
    upper, lower = (
        (weight[..., None] * torch.index_select(pairs, 0, row).reshape(queries, lanes, width)).sum(1)
        for row, weight in zip(rows, weights, strict=True)
    )
    return upper + lower


class GatherSampling(nn.Module):
    """Weighted sums of bilinear samples, by reading rows of the values."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self.corners = CornerSearch()
        self.mix = mix_by_products if dialect == "cpu" else mix_by_sums

    def forward(self, value: Tensor, offsets: Tensor, reference: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        """Samples every level around every query.

        Args:
            value: [B, tokens, heads, head_dim], all levels in row-major order one after the other.
            offsets: from the references, (x, y) in pixels of their level, [B, queries, heads, levels, points, 2].
            reference: ``reference_points`` of ``sizes``, [queries, levels, 2].
            weights: of the samples, [B, queries, heads, levels, points].
            sizes: (height, width) of each level.

        Returns:
            [B, queries, heads * head_dim].
        """
        batch, tokens, heads, head_dim = value.shape
        samples = weights.shape[3] * weights.shape[4]
        rows = value.reshape(batch * tokens * heads, head_dim)
        # Each row with its right neighbour: half as many reads, twice as long. Beyond a map's edge stands another cell,
        # which has no weight.
        pairs = torch.cat((rows, torch.cat((rows[heads:], rows[:heads]))), dim=1)
        corners = self.corners(offsets, reference, weights, sizes)
        upper, lower = (weight.reshape(-1, 2 * samples) for weight in corners.weights)
        return self.mix(pairs, corners.rows, (upper, lower)).reshape(batch, -1, heads * head_dim)


class GridSampling(nn.Module):
    """Weighted sums of bilinear samples, by ``grid_sample`` on each level."""

    def forward(self, value: Tensor, offsets: Tensor, reference: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        """Arguments and result as in ``GatherSampling``."""
        batch, _, heads, head_dim = value.shape
        points = reference[:, None, :, None, :] + offsets
        queries = points.shape[1]
        maps = value.permute(0, 2, 3, 1).split([height * width for height, width in sizes], dim=-1)
        mixed = value.new_zeros(())
        for level, ((height, width), level_map) in enumerate(zip(sizes, maps, strict=True)):
            at = points[:, :, :, level].transpose(1, 2).flatten(0, 1)
            x = (2 * at[..., 0] + 1) / width - 1
            y = (2 * at[..., 1] + 1) / height - 1
            image = level_map.reshape(batch * heads, head_dim, height, width)
            sampled = F.grid_sample(image, torch.stack((x, y), dim=-1), mode="bilinear", align_corners=False)
            weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
            mixed = mixed + (sampled * weight).sum(-1)
        return mixed.reshape(batch, heads * head_dim, queries).transpose(1, 2)


class DeformableAttention(nn.Module):
    """Each query mixes ``points`` learned samples on every level, per head."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_levels: int,
        num_points: int,
        form: Form = "gather",
        dialect: Dialect = "cpu",
    ) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        # The sampling module bears the form's name, by which a precision plan finds its coordinates.
        self.form = form
        self.add_module(form, GatherSampling(dialect) if form == "gather" else GridSampling())
        self.sampling_offsets = nn.Linear(channels, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(channels, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def forward(self, query: Tensor, x: Tensor, reference: Tensor, sizes: Sizes) -> Tensor:
        """[B, queries, channels] attends to ``x``.

        Args:
            query: [B, queries, channels], positions added.
            x: [B, tokens, channels], the maps that are sampled.
            reference: ``reference_points`` of ``sizes``, [queries, levels, 2].
            sizes: (height, width) of each level.

        Returns:
            [B, queries, channels].
        """
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        value = self.value_proj(x).unflatten(-1, (heads, -1))
        offsets = self.sampling_offsets(query).unflatten(-1, (heads, levels, points, 2))
        weights = torch.softmax(self.attention_weights(query).unflatten(-1, (heads, levels * points)), dim=-1)
        weights = weights.unflatten(-1, (levels, points))
        sample = getattr(self, self.form)
        attended: Tensor = self.output_proj(sample(value, offsets, reference, weights, sizes))
        return attended
