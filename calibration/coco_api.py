"""The optional package pycocotools: exact COCO polygons and average precision."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xsam_edge.runtime.errors import XSamError


def coco_module(name: str, purpose: str) -> Any:
    """The module ``pycocotools.<name>``: "mask", "coco" or "cocoeval".

    Raises XSamError where the package is not installed; ``purpose`` begins its message.
    """
    try:
        return import_module(f"pycocotools.{name}")
    except ImportError as error:
        raise XSamError(
            f"{purpose} needs the package pycocotools, which is not installed; "
            "install it with: pip install 'xsam-edge[eval]'"
        ) from error
