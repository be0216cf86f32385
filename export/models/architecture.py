"""What sets one type of decoder-only language model apart. Needs no torch.

A type is a file of this folder, named by ``model_type``, that defines ``ARCHITECTURE``; ``llm`` makes torch modules of
it, and everything that only wants to know a model's sizes reads it without loading torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.config.tensor_shapes import Shapes

if TYPE_CHECKING:
    from torch import Tensor

FIRST_LAYER = "llm.model.layers.0"
"""Of every checkpoint; sizes are read off its tensors."""


@dataclass(frozen=True)
class Linear:
    """A matrix from ``inputs`` channels to ``outputs``."""

    inputs: int
    outputs: int
    bias: bool = False


@dataclass(frozen=True)
class Norm:
    """A root mean square norm over ``size`` channels."""

    size: int


Modules = Mapping[str, Linear | Norm]
"""Name in the checkpoint -> module."""


class LayerModule(Protocol):
    """A torch module as an architecture's functions use it: it has what ``Modules`` lists, and little else."""

    config: LLMConfig

    def silu(self, x: Tensor) -> Tensor:
        """The activation function of every type."""

    def __getattr__(self, name: str) -> Callable[[Tensor], Tensor]:
        """A module that the architecture lists."""


def _full_attention(_config: Mapping[str, Any]) -> Collection[int | None]:
    return (None,)


@dataclass(frozen=True)
class Architecture:
    """One type of language model: modules, how they are used, and what shapes and ``config.json`` tell.

    ``project`` and ``feed_forward`` get a torch module (``LayerModule``) and use nothing else but methods of tensors.
    """

    attention: Callable[[LLMConfig], Modules]
    """Modules of an attention besides ``o_proj``. The names of their weights tell the type of a checkpoint."""
    mlp: Callable[[LLMConfig], Modules]
    """Modules of a feed-forward module."""
    project: Callable[[Any, Tensor], tuple[Tensor, Tensor, Tensor]]
    """Rows [n, hidden_size] to queries [n, heads, head_dim], keys and values [n, kv_heads, head_dim]."""
    feed_forward: Callable[[Any, Tensor], Tensor]
    """Rows [n, hidden_size] to the same shape."""
    sizes: Callable[[Shapes, int | None], dict[str, int]]
    """From tensors and heads, where they are known, to the fields of ``LLMConfig`` that both tell.

    ``num_heads``, ``num_kv_heads``, ``head_dim`` and ``intermediate_size``; the first three may be absent without
    heads. Raises CheckpointError for tensors that are missing or cannot be split.
    """
    defaults: Mapping[str, Any]
    """Key of ``config.json`` -> what it is where a file leaves it out, as in transformers."""
    supported: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Key of ``config.json`` -> values that are implemented, of keys that not every type has."""
    windows: Callable[[Mapping[str, Any]], Collection[int | None]] = _full_attention
    """From ``config.json`` to the sliding windows that its layers have, None for full attention."""
