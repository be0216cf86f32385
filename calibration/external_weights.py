"""Where the weights of a graph are: in files beside it, or in those that links beside it lead to.

onnx_ir and, from 1.24 on, ONNX Runtime follow no link that leads out of a graph's folder, as every file of a bundle
does that is kept by DVC, git-annex or the cache of the Hugging Face hub. So weights are looked for where they really
are.
"""

from __future__ import annotations

import os
from pathlib import Path

import onnx_ir as ir


def read_model(path: Path) -> ir.Model:
    """Read a graph, whose weights stay where they are. Raises what onnx_ir and protobuf raise."""
    model = ir.load(path)
    real: dict[str, Path] = {}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and (path.parent / tensor.location).is_symlink():
            location = str(tensor.location)
            if location not in real:
                real[location] = (path.parent / location).resolve()
            file = real[location]
            value.const_value = _at(tensor, file, file.parent)
    return model


def gather(model: ir.Model) -> Path | None:
    """Name the files of a graph's weights from the one folder that all of them are in or below, in place.

    Returns:
        The folder; None where no weight is in a file.
    """
    values = [value for value in model.graph.initializers.values() if isinstance(value.const_value, ir.ExternalTensor)]
    tensors = [value.const_value for value in values if isinstance(value.const_value, ir.ExternalTensor)]
    real = {path: Path(path).resolve() for path in {str(tensor.path) for tensor in tensors}}
    if not real:
        return None
    folder = Path(os.path.commonpath([file.parent for file in real.values()]))
    for value, tensor in zip(values, tensors, strict=True):
        value.const_value = _at(tensor, real[str(tensor.path)], folder)
    return folder


def _at(tensor: ir.ExternalTensor, file: Path, folder: Path) -> ir.ExternalTensor:
    """The tensor in a file in or below a folder."""
    location = file.relative_to(folder).as_posix()
    return ir.ExternalTensor(
        location,
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=tensor.shape,
        name=tensor.name or "",
        base_dir=folder,
    )
