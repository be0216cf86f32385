"""Blocks: the unit in which precision is measured and raised, a part of a layer such as its attention."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LAYER = re.compile(r"layers\.\d+")


def block_of(node: str) -> str:
    """The pattern of the block that a node belongs to; blocks share no node.

    ``/llm/model/layers.3/mlp/down_proj/MatMul`` belongs to ``/llm/model/layers.3/mlp/**``, what stands directly in a
    layer, such as its residual additions, to ``/llm/model/layers.3/*``. Outside of layers a block is a module's own
    nodes.
    """
    parts = node.strip("/").split("/")
    layer = next((index for index, part in enumerate(parts) if _LAYER.fullmatch(part)), None)
    if layer is None or layer + 2 >= len(parts):
        return "/".join(["", *parts[:-1], "*"])
    return "/".join(["", *parts[: layer + 2], "**"])


def members(nodes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The nodes of each block, in order."""
    blocks: dict[str, list[str]] = {}
    for node in nodes:
        blocks.setdefault(block_of(node), []).append(node)
    return {block: tuple(names) for block, names in blocks.items()}
