"""``config.pbtxt``: what it says is what the model takes."""

from __future__ import annotations

import re

import pytest

from xsam_edge.export.triton.config import Instances, config_text
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.triton.signature import INPUTS, OUTPUTS


def test_instances_and_parameters() -> None:
    text = config_text(Instances(2, False, {"bundle": 'a "b"\\c\nd é', "threads": "1"}))
    assert "instance_group [ { count: 2 kind: KIND_CPU } ]" in text
    assert r'parameters { key: "bundle" value: { string_value: "a \"b\"\\c\nd é" } }' in text
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
    assert "kind: KIND_GPU gpus: [ 0 ]" in config_text(Instances(1, True, {}))


def test_tensors() -> None:
    text = config_text(Instances(1, False, {}))
    told = re.findall(r'name: "(\w+)" data_type: TYPE_(\w+) dims: \[ (.*?) \](.*?) }', text)
    assert [name for name, *_ in told] == [tensor.name for tensor in (*INPUTS, *OUTPUTS)]
    for tensor, (_, dtype, dims, rest) in zip((*INPUTS, *OUTPUTS), told, strict=True):
        assert dtype == tensor.dtype.replace("BYTES", "STRING")
        assert tuple(map(int, dims.split(", "))) == tensor.dims
        assert ("allow_ragged_batch: true" in rest) == (tensor in INPUTS)
        assert ("optional: true" in rest) == (tensor in INPUTS and tensor.name != "TASK")


def test_a_path_that_is_no_text() -> None:
    with pytest.raises(InputError, match="is not UTF-8"):
        config_text(Instances(1, False, {"bundle": "a\udcff"}))
