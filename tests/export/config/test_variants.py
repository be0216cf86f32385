"""The registry: entries hold together, and a checkpoint's variant is told from names, sizes and folder names."""

from __future__ import annotations

import shutil

import pytest

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.hub import resolve
from xsam_edge.export.config.naming import aaai26_name
from xsam_edge.export.config.variants import VARIANTS, get_variant, guess_variant
from xsam_edge.runtime.errors import CheckpointError, InputError


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_entries_hold_together(variant):
    llm, vision, mask = variant.config.llm, variant.config.vision_encoder, variant.config.mask_encoder
    assert VARIANTS[variant.name] is variant
    assert variant.prompt.instruction.count("{input}") == 1
    assert variant.prompt.answer_suffix in variant.prompt.stop_words
    assert variant.regions.points % variant.regions.group == 0
    assert llm.num_heads % llm.num_kv_heads == 0
    assert vision.hidden_size % vision.num_heads == 0
    assert (variant.vision_input.height, variant.vision_input.width) == (vision.image_size,) * 2
    assert (variant.mask_input.longest_edge, variant.mask_input.height) == (mask.image_size,) * 2
    assert (variant.config.vision_tokens, variant.config.mask_tokens) == (
        (36, 36) if variant.name == "shapes" else (729, 1024)
    )


def test_what_differs_between_the_lines():
    old, new = get_variant("phi3-aaai26"), get_variant("phi3")
    assert (old.line, new.line) == ("aaai26", "main")
    assert (old.prompt.image_token, new.prompt.image_token) == ("<image>\n", "<image>")
    assert (old.regions.tokens, old.regions.pooling) == (1, "max")
    assert (new.regions.tokens, new.regions.pooling) == (64, "mean")
    assert (old.vision_input.pad_to_square, new.vision_input.pad_to_square) == (True, False)
    assert (old.config.mask_decoder.logit_clamp, new.config.mask_decoder.logit_clamp) == (500, 50)
    assert (old.interactive_match, new.interactive_match) == ("box", "mask")
    assert old.config.llm == new.config.llm


def test_prompts():
    assert get_variant("phi3").prompt.instruction == "<|user|>\n{input}<|end|>\n<|assistant|>\n"
    assert get_variant("phi3").prompt.bos == "<s>"
    plain, no_thinking = get_variant("qwen3-4b").prompt, get_variant("qwen3-1.7b").prompt
    assert plain.instruction == "<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n"
    assert no_thinking.instruction == plain.instruction + "<think>\n\n</think>\n\n"
    assert plain.bos == no_thinking.bos == ""


def test_unknown_name():
    with pytest.raises(InputError, match="expected one of phi3-aaai26, phi3, qwen3"):
        get_variant("phi4")


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
    shapes = {"vision_encoder.a": (1,), "llm.model.layers.0.self_attn.q_norm.weight": (128,)}
    shapes |= {f"llm.model.layers.{i}.input_layernorm.weight": (llm.hidden_size,) for i in range(llm.num_layers)}
    assert guess_variant(shapes).name == name
    assert guess_variant(shapes, qwen3_reference / "inits").name == name


def test_other_language_models():
    with pytest.raises(CheckpointError, match="language model is unknown"):
        guess_variant({"vision_encoder.a": (1,), "llm.model.layers.0.self_attn.q_proj.weight": (1, 1)})
