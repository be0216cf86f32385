"""The registry: entries hold together."""

from __future__ import annotations

import pytest

from xsam_edge.export.config.variants import VARIANTS, get_variant, language_model_types
from xsam_edge.runtime.errors import InputError


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
    assert get_variant("smollm2-360m").prompt == plain


def test_types_of_language_models():
    assert language_model_types() == ("llama", "phi3", "qwen3")


def test_unknown_name():
    with pytest.raises(InputError, match="expected one of phi3-aaai26, phi3, qwen3"):
        get_variant("phi4")
