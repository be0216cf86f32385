"""The precisions that a bundle can have. Apart from what applies them, for commands that must not load onnx."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
