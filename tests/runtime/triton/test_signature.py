"""Names and types of tensors."""

from __future__ import annotations

from xsam_edge.runtime.triton.signature import DTYPES, INPUTS, OUTPUTS, TASKS


def test_names_are_one_for_one_thing() -> None:
    names = [tensor.name for tensor in (*INPUTS, *OUTPUTS)]
    assert len(set(names)) == len(names)
    assert {tensor.dtype for tensor in (*INPUTS, *OUTPUTS)} == set(DTYPES)


def test_inputs_belong_to_tasks() -> None:
    for tensor in INPUTS:
        assert tensor.tasks and set(tensor.tasks) <= set(TASKS)
    assert [tensor.name for tensor in INPUTS if not tensor.optional] == ["TASK"]
