"""Types of a tensor's values, by the names that a manifest has for them: numpy's, and those that numpy lacks."""

from __future__ import annotations

from collections.abc import Mapping

FP8 = "float8_e4m3fn"

#: Bytes of a value of each dtype that a tensor may have.
ITEM_SIZES: Mapping[str, int] = {"float32": 4, "float16": 2, "int64": 8, "uint8": 1, "int8": 1, FP8: 1}


def memory_type(dtype: str) -> str:
    """Numpy's name of the type that such values are kept as: those that numpy has no type for as their bytes."""
    return "uint8" if dtype == FP8 else dtype
