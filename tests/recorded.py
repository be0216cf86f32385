"""Recorded outputs of the official code, for tests at any depth (several folders have a ``conftest`` of their own)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


@cache
def load_reference(folder: str, name: str) -> dict[str, np.ndarray]:
    """The arrays of one recorded file, e.g. ("golden-phi3", "aaai_img_refseg")."""
    with np.load(DATA / folder / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def meta(arrays: dict[str, np.ndarray], mode: str) -> dict[str, Any]:
    """The recorded facts of one mode ("tensor" or "predict")."""
    return json.loads(arrays[f"{mode}/meta"].tobytes().decode())
