"""The torch model with random weights, made where it runs: 4.6 billion values in a second."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.bundle.contract import Dialect

_SPREAD = 0.02  # of weights, at which the activations of all parts stay far from the ends of FP16

Module = TypeVar("Module", bound=nn.Module)


def empty_model(config: ModelConfig, dialect: Dialect = "cpu") -> XSam:
    """The modules without memory. Deformable attention is in torch's own form, which is the official one."""
    with torch.device("meta"):
        return XSam(config, deformable="grid_sample", dialect=dialect)


def random_model(config: ModelConfig, device: str, dtype: torch.dtype) -> XSam:
    """A model for times, never trained."""
    return randomise(empty_model(config).to(dtype).to_empty(device=device).eval())


@torch.no_grad()
def randomise(module: Module, seed: int = 0) -> Module:
    """Fill parameters in place: norms with ones, biases with zeros, all else with small normal values."""
    for name, parameter in module.named_parameters():
        generator = torch.Generator(parameter.device).manual_seed(seed)
        seed += 1
        if parameter.ndim > 1:
            parameter.normal_(0.0, _SPREAD, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return module
