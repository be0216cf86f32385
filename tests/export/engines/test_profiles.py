from __future__ import annotations

from dataclasses import replace

import pytest

from tests.samples import SETTINGS
from xsam_edge.export.engines.profiles import MAX_CONDITIONS, MAX_ROWS, input_shapes, profiles_for
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP
from xsam_edge.runtime.bundle import contract as c
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec
from xsam_edge.runtime.language.batch import BATCHED_TOKENS, MAX_BATCH

MODEL = replace(SETTINGS.model, image_tokens=100, context_length=4096)
LLM = GraphSpec(
    "llm.onnx",
    (
        TensorSpec(c.INPUTS_EMBEDS, "float16", (c.BATCH, c.SEQUENCE, 8)),
        TensorSpec(c.POSITION_IDS, "int64", (1, c.SEQUENCE)),
        TensorSpec(c.LOGITS_POSITIONS, "int64", (c.ROWS,)),
        TensorSpec(c.past_key(0), "float16", (1, c.PAST, 2, 4)),
        TensorSpec(c.past_value(0), "float16", (1, c.PAST, 2, 4)),
    ),
    (),
)


@pytest.mark.parametrize("context", [101, 128, 1024, 4096])
def test_prefill_and_decode_cover_every_step_of_a_context(context: int) -> None:
    prefill, decode, prompts = profiles_for(LLM, c.LLM, MODEL, context)
    assert (prefill.name, decode.name, prompts.name) == ("prefill", "decode", "prompts")
    for profile in (prefill, decode, prompts):
        for low, usual, high in profile.axes.values():
            assert low <= usual <= high
    longest = min(BATCHED_TOKENS, context)
    assert prompts.holds({c.BATCH: MAX_BATCH, c.SEQUENCE: longest, c.PAST: context - 1, c.ROWS: 30})
    assert not prompts.holds({c.BATCH: 1, c.SEQUENCE: 2, c.PAST: 0, c.ROWS: 1})
    assert prefill.holds({c.BATCH: 1, c.SEQUENCE: context, c.PAST: 0, c.ROWS: 0})
    assert prefill.holds({c.BATCH: 1, c.SEQUENCE: 1, c.PAST: context - 1, c.ROWS: 1})
    assert prefill.holds({c.BATCH: 1, c.SEQUENCE: context - 100, c.PAST: 100, c.ROWS: 1})
    assert not prefill.holds({c.BATCH: 1, c.SEQUENCE: context + 1, c.PAST: 0, c.ROWS: 1})
    assert decode.holds({c.BATCH: 1, c.SEQUENCE: 1, c.PAST: context - 1, c.ROWS: 1})
    assert decode.holds({c.BATCH: 1, c.SEQUENCE: 1, c.PAST: context, c.ROWS: 1}), "a past padded to the whole cache"
    assert decode.axes[c.PAST][1] in (context, *range(PAST_STEP, context, PAST_STEP)), "tuned for a length that comes"
    assert decode.holds({c.BATCH: 1, c.SEQUENCE: 1, c.PAST: 0, c.ROWS: 0})
    assert not decode.holds({c.BATCH: 1, c.SEQUENCE: 2, c.PAST: 0, c.ROWS: 1})


def test_logits_of_a_verified_block_fit() -> None:
    prefill, *_ = profiles_for(LLM, c.LLM, MODEL, 4096)
    assert prefill.holds({c.BATCH: 1, c.SEQUENCE: 256, c.PAST: 0, c.ROWS: MAX_ROWS})


def test_shapes_name_every_dynamic_input() -> None:
    _, decode, _ = profiles_for(LLM, c.LLM, MODEL, 1000)
    shapes = input_shapes(LLM, decode)
    assert set(shapes) == {tensor.name for tensor in LLM.inputs}
    assert shapes[c.INPUTS_EMBEDS] == ((1, 1, 8),) * 3
    low, usual, high = shapes[c.past_key(0)]
    assert (low, high) == ((1, 0, 2, 4), (1, 1000, 2, 4))
    assert low < usual < high


def test_a_graph_of_one_prompt_has_no_profile_for_several() -> None:
    inputs = (TensorSpec(c.INPUTS_EMBEDS, "float16", (1, c.SEQUENCE, 8)), *LLM.inputs[1:])
    profiles = profiles_for(replace(LLM, inputs=inputs), c.LLM, MODEL, 1000)
    assert [profile.name for profile in profiles] == ["prefill", "decode"]
    assert all(c.BATCH not in profile.axes for profile in profiles)


def test_the_encoder_has_one_profile_without_axes() -> None:
    spec = GraphSpec("image_encoder.onnx", (TensorSpec(c.PIXEL_VALUES, "float32", (1, 3, 8, 8)),), ())
    (profile,) = profiles_for(spec, c.IMAGE_ENCODER, MODEL, 1000)
    assert profile.axes == {}
    assert input_shapes(spec, profile) == {}


def test_the_mask_decoder_takes_from_one_condition_to_long_lists() -> None:
    fixed = TensorSpec(c.SEG_EMBED, "float32", (1, 1, 8))
    spec = GraphSpec("d.onnx", (fixed, TensorSpec(c.CONDITION_EMBEDS, "float32", (1, c.CONDITIONS, 8))), ())
    (profile,) = profiles_for(spec, c.MASK_DECODER, MODEL, 1000)
    assert profile.holds({c.CONDITIONS: 1})
    assert profile.holds({c.CONDITIONS: 1203})
    shapes = input_shapes(spec, profile)
    assert set(shapes) == {c.CONDITION_EMBEDS}
    assert shapes[c.CONDITION_EMBEDS][2] == (1, MAX_CONDITIONS, 8)
