"""Other runtimes of language models on ONNX graphs: whether they are here. They are named, not run."""

from __future__ import annotations

import importlib.util
from typing import Any

# Module -> how to install it. Each pins other versions of what the exporter needs.
_OTHERS = {
    "onnxruntime_genai": "pip install onnxruntime-genai",
    "optimum.onnxruntime": "pip install 'optimum-onnx[onnxruntime]'",
}


def other_peers() -> list[dict[str, Any]]:
    """One entry per runtime."""
    return [
        {
            "name": name,
            "installed": _installed(name),
            "measured": False,
            "note": f"{'installed, but' if _installed(name) else 'not installed;'} "
            + ("not run by this command" if _installed(name) else f"in an environment of its own: {how}"),
        }
        for name, how in _OTHERS.items()
    ]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
