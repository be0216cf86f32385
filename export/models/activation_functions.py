"""Activation functions by the names that model configurations use."""

from __future__ import annotations

from torch import nn

from xsam_edge.export.config.sizes import ACTIVATIONS
from xsam_edge.runtime.errors import CheckpointError


def activation(name: str) -> nn.Module:
    """The activation called ``name`` in a Hugging Face style configuration.

    Raises:
        CheckpointError: for a name that none of the supported encoders uses.
    """
    if name == "gelu":
        return nn.GELU()
    if name in ("gelu_pytorch_tanh", "gelu_new"):
        return nn.GELU(approximate="tanh")
    if name == "relu":
        return nn.ReLU()
    if name in ("silu", "swish"):
        return nn.SiLU()
    raise CheckpointError(
        f"activation {name!r} is not supported; expected one of {', '.join(ACTIVATIONS)}: correct hidden_act"
    )
