from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check import torch_sides
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, find, read
from xsam_edge.benchmarks.gpu_check.stages import stage
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.benchmarks.watch import STAGES
from xsam_edge.export.models.llm import DecoderLayer


def measured(step: str, folder: Path) -> Path:
    say = Recorder(folder / RESULTS, step)
    run = torch_sides.run if step == "torch" else torch_sides.run_compiled
    run(Setting("cpu", folder), say)
    return say.path


def test_both_sides_are_measured_in_every_stage(tmp_path: Path) -> None:
    records = read([measured("torch", tmp_path)])
    for side in (torch_sides.EAGER, torch_sides.FUSED):
        for name in ("first answer", "next prompt", "decode step", *map(stage, STAGES[1:])):  # a host makes its pixels
            assert (find(records, "torch", f"{side}: {name}") or 0) > 0, name


def test_every_layer_is_compiled(tmp_path: Path) -> None:
    model, _ = torch_sides._build(Setting("cpu", tmp_path))
    torch_sides.compile_layers(model, "eager")
    compiled = [module for module in model.modules() if module._compiled_call_impl is not None]
    kinds = {type(module) for module in compiled}
    assert set(torch_sides._REPEATED) <= kinds and len(kinds) == len(torch_sides._REPEATED) + 1
    assert sum(isinstance(module, DecoderLayer) for module in compiled) == model.config.llm.num_layers


@pytest.mark.slow
def test_a_compiled_model_is_measured(tmp_path: Path) -> None:
    """Dynamo reads every layer's code."""
    records = read([measured("torch-compile", tmp_path)])
    assert (find(records, "torch-compile", "compiled: first answer") or 0) > 0
