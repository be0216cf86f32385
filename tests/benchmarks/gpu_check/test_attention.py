from pathlib import Path

import pytest
import torch

from xsam_edge.benchmarks.gpu_check import attention
from xsam_edge.benchmarks.gpu_check.attention import SoftmaxInFloat32
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, read
from xsam_edge.benchmarks.gpu_check.steps import Setting


def test_every_form_is_timed_and_agrees(tmp_path: Path) -> None:
    say = Recorder(tmp_path / RESULTS, "attention")
    attention.run(Setting("cpu", tmp_path), say)
    found = {record.name: record for record in read([say.path])}
    assert {name.rpartition(", ")[2] for name in found if name.startswith("decode")} == {"cpu", "gpu", "torch's own"}
    for kind in ("global", "windowed"):
        assert {f"SAM layer, {kind}, {dialect}" for dialect in ("cpu", "gpu", "cuda")} <= found.keys()
    assert all(record.value > 0 for record in found.values())
    for record in found.values():
        if "apart from the first form" in record.note:
            assert float(record.note.rpartition("at most ")[2].split()[0]) < 0.02


def test_a_form_that_computes_something_else_is_seen(tmp_path: Path) -> None:
    say = Recorder(tmp_path / RESULTS, "attention")
    forms = {"one": lambda: torch.zeros(3), "other": lambda: torch.ones(3)}
    attention._report("x", forms, Setting("cpu", tmp_path), 1, say)
    assert read([say.path])[1].note.endswith("at most 1.0e+00 apart from the first form")


def test_softmax_of_halves_is_computed_in_float32() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0]]).half()
    with SoftmaxInFloat32():
        found = torch.softmax(values, dim=-1)
        assert torch.softmax(values.float(), -1).dtype == torch.float32
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, torch.softmax(values.float(), -1).half(), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "shape"), [("prefill", (1849, 0)), ("suffix", (24, 1849)), ("decode", (1, 2048))])
def test_shapes_are_those_of_the_full_model(name: str, shape: tuple[int, int]) -> None:
    assert attention._SHAPES[name] == shape
