"""Random weights, for models that no checkpoint fills."""

from __future__ import annotations

import torch
from torch import nn

from xsam_edge.export.models.mask_decoder import ClassPredictor


def init_weights(model: nn.Module, seed: int, std: float = 0.02) -> nn.Module:
    """Draws every parameter of ``model`` and returns it; the same seed gives the same weights.

    Matrices and kernels are normal and scaled with their inputs, so that activations keep their size; norms are one
    and all else is zero, plus normal noise of deviation ``std``, so that no term of the model is idle.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                noise = torch.randn(parameter.shape, generator=generator)
                is_weight = name.endswith("weight")
                if is_weight and parameter.ndim > 1 and not isinstance(module, nn.Embedding):
                    parameter.copy_(noise * parameter[0].numel() ** -0.5)
                else:
                    parameter.copy_(std * noise + float(is_weight and parameter.ndim == 1))
            if isinstance(module, ClassPredictor):
                module.reset_parameters()
    return model
