from __future__ import annotations

import argparse

import pytest

from xsam_edge.export.dialect import dialect_of
from xsam_edge.runtime.errors import InputError


def _options(**given: str) -> argparse.Namespace:
    return argparse.Namespace(**{"engine": None, "dialect": None, "float_precision": "fp16"} | given)


def test_the_floating_point_type_decides():
    assert [dialect_of(_options(), precision) for precision in ("fp32", "fp16", "int8", "int4")] == [
        "cpu",
        "gpu",
        "gpu",
        "gpu",
    ]
    assert dialect_of(_options(float_precision="fp32"), "int8") == "cpu"


def test_the_user_decides_first():
    assert dialect_of(_options(dialect="cuda"), "fp32") == "cuda"
    assert dialect_of(_options(dialect="cpu"), "fp16") == "cpu"


def test_engines_are_of_one_dialect():
    assert dialect_of(_options(engine="tensorrt"), "fp32") == "gpu"
    with pytest.raises(InputError, match="not those of --for cpu; leave --for out"):
        dialect_of(_options(engine="tensorrt", dialect="cpu"), "fp16")
