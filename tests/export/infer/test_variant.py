"""A checkpoint's variant is told from names, sizes and folder names."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.hub import resolve
from xsam_edge.export.config.naming import aaai26_name
from xsam_edge.export.config.variants import VARIANTS, get_variant
from xsam_edge.export.infer.variant import guess_variant
from xsam_edge.export.models import llama
from xsam_edge.export.models.architecture import Linear
from xsam_edge.export.models.registry import fitting_types
from xsam_edge.runtime.errors import CheckpointError


def test_phi3_by_line(phi3_reference):
    checkpoint = open_checkpoint(phi3_reference)
    assert guess_variant(checkpoint.shapes, checkpoint.inits).name == "phi3"
    assert guess_variant(checkpoint.shapes).name == "phi3"
    assert guess_variant(checkpoint.renamed(aaai26_name).shapes, checkpoint.inits).name == "phi3-aaai26"


def test_the_demo_model_is_told_by_its_size(phi3_reference):
    shapes = open_checkpoint(resolve("shapes")).shapes
    assert guess_variant(shapes).name == "shapes"
    deeper = {name: shape for name, shape in shapes.items() if ".layers.5." not in name}
    assert guess_variant(deeper).name == "phi3"


def test_qwen3_by_folder_name(qwen3_reference, tmp_path):
    checkpoint = open_checkpoint(qwen3_reference)
    assert guess_variant(checkpoint.shapes, checkpoint.inits).name == "qwen3-1.7b"
    with pytest.raises(CheckpointError, match=r"qwen3-1\.7b, qwen3-4b.*--variant"):
        guess_variant(checkpoint.shapes)
    for folder, name in (("Qwen3-4B-Instruct-2507", "qwen3-4b"), ("my-model", None)):
        inits = tmp_path / folder / "inits"
        shutil.copytree(checkpoint.inits / "Qwen3-1.7B", inits / folder)
        if name:
            assert guess_variant(checkpoint.shapes, inits).name == name
        else:
            with pytest.raises(CheckpointError, match="--variant"):
                guess_variant(checkpoint.shapes, inits)
    with pytest.raises(CheckpointError, match="no variant has a qwen3"):
        guess_variant(checkpoint.renamed(aaai26_name).shapes, checkpoint.inits)


@pytest.mark.parametrize("name", ["qwen3-1.7b", "qwen3-4b"])
def test_qwen3_by_size_before_folder_name(name, qwen3_reference):
    llm = get_variant(name).config.llm
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")
    shapes = {"vision_encoder.a": (1,)} | {f"llm.model.layers.0.self_attn.{name}.weight": (1,) for name in projections}
    shapes |= {f"llm.model.layers.{i}.input_layernorm.weight": (llm.hidden_size,) for i in range(llm.num_layers)}
    assert guess_variant(shapes).name == name
    assert guess_variant(shapes, qwen3_reference / "inits").name == name


def test_llama():
    shapes = {"vision_encoder.a": (1,), "llm.model.layers.0.self_attn.rotary_emb.inv_freq": (1,)}
    shapes |= {f"llm.model.layers.0.self_attn.{name}_proj.weight": (1, 1) for name in "qkvo"}
    assert guess_variant(shapes).name == "smollm2-360m"
    # Not everything with Llama's projections is a Llama.
    with pytest.raises(CheckpointError, match=r"its attention has k_proj q_norm q_proj v_proj; expected"):
        guess_variant(shapes | {"llm.model.layers.1.self_attn.q_norm.weight": (1,)})


@pytest.mark.parametrize("name", ["c_attn", "o_proj", "rotary_emb.inv_freq"])
def test_other_language_models(name):
    message = r"language model is unknown: .*llama \(k_proj q_proj v_proj\), .*phi3 \(qkv_proj\), .*qwen3 \(k_norm"
    with pytest.raises(CheckpointError, match=message):
        guess_variant({"vision_encoder.a": (1,), f"llm.model.layers.0.self_attn.{name}.weight": (1, 1)})


LLAMA = {"vision_encoder.a": (1,)} | {f"llm.model.layers.0.self_attn.{name}_proj.weight": (1, 1) for name in "qkvo"}


def register(monkeypatch, name, architecture):
    """A type and a variant of the same name, with the sizes of a Llama."""
    known = get_variant("smollm2-360m")
    variant = replace(known, name=name, config=replace(known.config, llm=replace(known.config.llm, model_type=name)))
    monkeypatch.setitem(sys.modules, f"xsam_edge.export.models.{name}", SimpleNamespace(ARCHITECTURE=architecture))
    monkeypatch.setitem(VARIANTS, name, variant)


@pytest.mark.parametrize(("model_type", "name"), [("llama", "smollm2-360m"), ("twin", "twin")])
def test_types_with_the_same_tensors_are_told_by_inits(monkeypatch, tmp_path, model_type, name):
    register(monkeypatch, "twin", llama.ARCHITECTURE)
    (tmp_path / "a-model").mkdir()
    (tmp_path / "a-model" / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert guess_variant(LLAMA, tmp_path).name == name
    with pytest.raises(CheckpointError, match=r"smollm2-360m, .*twin.*--variant"):
        guess_variant(LLAMA)


def test_biases_tell_types_apart(monkeypatch):
    def attention(config):
        return llama.attention(config) | {"q_proj": Linear(1, 1, bias=True)}

    register(monkeypatch, "biased", replace(llama.ARCHITECTURE, attention=attention))
    assert "biased" not in fitting_types(LLAMA)
    assert guess_variant(LLAMA | {"llm.model.layers.0.self_attn.q_proj.bias": (1,)}).name == "biased"
