from __future__ import annotations

import json
from pathlib import Path

import pytest

from xsam_edge.export.cli import main
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.engines.precision_choice import choose_precision
from xsam_edge.export.engines.targets import TARGETS, get_target
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import InputError


@pytest.mark.parametrize(
    ("target", "variant", "precision"),
    [
        ("rtx-40", "phi3", "fp8"),
        ("rtx-50", "phi3", "fp8"),
        ("h100", "phi3", "fp8"),
        ("thor", "phi3", "fp8"),
        ("rtx-30", "phi3", "int8"),
        ("agx-orin", "phi3", "int8"),
        ("orin-nx", "phi3", "int8"),
        ("orin-nano", "phi3", "int4"),
        ("orin-nano", "qwen3-1.7b", "int8"),
        ("auto", "phi3", "fp16"),
    ],
)
def test_the_fastest_that_fits(target: str, variant: str, precision: str) -> None:
    choice = choose_precision(TARGETS[target], VARIANTS[variant].config, variant, 0)
    assert choice.precision == precision and choice.why.startswith(f"{precision}, since ")


def test_memory_and_context_decide_too() -> None:
    config = VARIANTS["phi3"].config
    small = get_target("rtx-40", memory=7 << 30)
    assert choose_precision(small, config, "phi3", 0).why == "int4, since fp8 does not fit rtx-40"
    # Where nothing fits, the plan of the fastest says what would.
    assert choose_precision(get_target("rtx-40", memory=2 << 30), config, "phi3", 0).precision == "fp8"
    with pytest.raises(InputError, match="up to the model's 4096"):
        choose_precision(TARGETS["rtx-40"], config, "phi3", 9000)


def test_graphs_for_a_target_say_why_they_are_what_they_are(
    phi3_reference: Path, statistics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--checkpoint", str(phi3_reference), "--precision", "auto", "-o", str(tmp_path / "graphs")]
    few = ["--calibration-samples", "2", "--calibration-cache", str(statistics), "--min-iou", "0"]
    assert main([*wanted, *few, "--target", "rtx-40", "--json"]) == 0
    told, manifest = json.loads(capsys.readouterr().out), read_manifest(tmp_path / "graphs")
    assert manifest.precision == told["precision"] == "fp8" and manifest.graphs["llm"].codes == ("fp8",)
    assert manifest.precision_why == told["precision_why"] and "8-bit floats" in manifest.precision_why
    assert main([*wanted, "--target", "xavier", "--overwrite"]) == 2
    assert "unknown target 'xavier'" in capsys.readouterr().err
    assert main([*wanted, "--optimization-level", "3", "--overwrite"]) == 2
    assert "--optimization-level is of --engine and --plan" in capsys.readouterr().err
