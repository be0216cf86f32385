"""A trained model as an official checkpoint: weights in main names, 16 bit."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from xsam_edge.export.models.xsam import XSam


def save_weights(model: XSam, path: Path) -> None:
    """Write the weights as float16, aside and then in place."""
    state = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(state, aside, metadata={"format": "pt"})
    aside.replace(path)
