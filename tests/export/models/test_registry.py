"""A type of language model is one file and a variant."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xsam_edge.export.config.variants import VARIANTS, language_model_types
from xsam_edge.export.infer.variant import guess_variant
from xsam_edge.export.models import llama
from xsam_edge.export.models.architecture import Linear
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.registry import fitting_types, get_architecture
from xsam_edge.runtime.errors import CheckpointError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("model_type", language_model_types())
def test_a_type_is_told_by_the_names_of_its_own_modules(model_type: str) -> None:
    config = next(v.config.llm for v in VARIANTS.values() if v.config.llm.model_type == model_type)
    with torch.device("meta"):
        model = CausalLM(replace(config, num_layers=1))
    assert model_type in fitting_types(f"llm.{name}" for name in model.state_dict())


def test_an_unknown_type_is_one_line_with_the_known_ones() -> None:
    listed = ", ".join(language_model_types())
    with pytest.raises(CheckpointError, match=f"'xsam' is not supported; expected one of {listed}") as caught:
        get_architecture("xsam")  # a file of the folder, but no type
    assert "\n" not in str(caught.value)


def test_only_its_file_and_the_variants_name_a_type() -> None:
    types = set(language_model_types())
    naming = {
        str(path.relative_to(ROOT))
        for package in ("export", "calibration", "runtime")  # benchmarks name variants, one of which is called so
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in types
    }
    assert naming == {"export/config/variants.py"}


def test_a_new_type_is_a_file_and_a_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else finds it: an attention with one bias, whose weights nobody else has."""

    def attention(config):
        return {**llama.attention(config), "gate": Linear(config.hidden_size, config.hidden_size, bias=True)}

    def project(module, x):
        return llama.project(module, x * module.gate(x))

    architecture = replace(llama.ARCHITECTURE, attention=attention, project=project)
    known = VARIANTS["smollm2-360m"]
    sizes = replace(known.config.llm, model_type="gated", hidden_size=12, intermediate_size=8, num_layers=1)
    sizes = replace(sizes, num_heads=2, num_kv_heads=1, head_dim=6, vocab_size=9)
    variant = replace(known, name="gated", config=replace(known.config, llm=sizes))
    monkeypatch.setitem(sys.modules, "xsam_edge.export.models.gated", SimpleNamespace(ARCHITECTURE=architecture))
    monkeypatch.setitem(VARIANTS, "gated", variant)
    model = CausalLM(sizes)
    shapes = {f"llm.{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes["llm.model.layers.0.self_attn.gate.bias"] == (12,)
    assert guess_variant(shapes | {"vision_encoder.a": (1,)}) is variant
    _, logits, _ = model(torch.randn(1, 3, 12), torch.arange(3)[None], model.empty_cache(), torch.arange(3))
    assert logits.shape == (3, 9)
