"""A memory plan loads neither torch nor what it drags along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xsam_edge.export.config.variants import VARIANTS

PROGRAM = """
import sys

from xsam_edge.export.cli import main

code = main([*sys.argv[1:], "--target", "rtx-40", "--plan", "--json"])
heavy = ("torch", "transformers", "optimum", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "huggingface_hub")
print(code, sorted(name for name in heavy if name in sys.modules))
"""


def plan(*arguments: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    return process.stdout.splitlines()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name in ("phi3", "qwen3-1.7b", "smollm2-360m")])
def test_a_plan_of_random_weights(variant: str) -> None:
    facts, loaded = plan("--random-weights", "--variant", variant, "--precision", "int4")
    assert f'"variant": "{variant}"' in facts
    assert loaded == "0 []"


@pytest.mark.parametrize(("reference", "variant"), [("phi3_reference", "phi3"), ("qwen3_reference", "qwen3-1.7b")])
def test_a_plan_of_a_checkpoint(request: pytest.FixtureRequest, reference: str, variant: str) -> None:
    path: Path = request.getfixturevalue(reference)
    facts, loaded = plan("--checkpoint", str(path), "--precision", "fp16")
    assert f'"variant": "{variant}"' in facts
    assert loaded == "0 []"
