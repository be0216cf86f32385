"""Packages that a lean installation lacks, as the line of ``pip`` that brings them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

_EXTRAS: Mapping[str, tuple[str, ...]] = {
    "export": (
        "torch",
        "transformers",
        "optimum",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "safetensors",
        "huggingface_hub",
    ),
    "eval": ("pycocotools",),
    "cpu": ("onnxruntime",),
    "train": ("scipy",),
    "completion": ("shtab",),
    "serve": ("fastapi", "uvicorn", "python_multipart"),
    "parquet": ("pyarrow",),
    "ray": ("ray",),
}
# The oldest Python that an extra can be installed for, where that is not the runtime's.
_PYTHONS: Mapping[str, tuple[int, int]] = {"export": (3, 11)}


def remedy(package: str) -> str | None:
    """That a package is not installed, and what installs it; None for one that no extra brings."""
    extra = next((extra for extra, packages in _EXTRAS.items() if package in packages), None)
    if extra is None:
        return None
    text = f"{package} is not installed; run `pip install 'xsam-edge[{extra}]'`"
    needed, running = _PYTHONS.get(extra, (3, 10)), sys.version_info[:2]
    if running < needed:
        text += f" with Python {_version(needed)} or newer, this is {_version(running)}"
    return text


def _version(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
