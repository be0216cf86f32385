from __future__ import annotations

from dataclasses import replace

import pytest

from tests.samples import SETTINGS
from xsam_edge.export.engines.profiles import MAX_CONDITIONS, MAX_VALUES, Heads, input_shapes, longest_context
from xsam_edge.export.engines.profiles import profiles_for as profiles_of
from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP, ROW_STEPS, choose_profile, row_steps
from xsam_edge.runtime.bundle import contract as c
from xsam_edge.runtime.bundle.engine_info import MOST_LOGITS, MOST_TOKENS, EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec
from xsam_edge.runtime.language.batch import BATCHED_TOKENS, MAX_BATCH
from xsam_edge.runtime.language.speculative import MAX_DRAFT

MODEL = replace(SETTINGS.model, image_tokens=100, context_length=1 << 16)
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


def llm_profiles(context: int) -> tuple[EngineProfile, ...]:
    return profiles_of(LLM, c.LLM, MODEL, context)


def run(batch: int, sequence: int, past: int, rows: int) -> dict[str, int]:
    return {c.BATCH: batch, c.SEQUENCE: sequence, c.PAST: past, c.ROWS: rows}


@pytest.mark.parametrize("context", [101, 128, 1024, 4096, 8192])
def test_profiles_cover_every_run_of_a_context(context: int) -> None:
    first, suffix, decode, prompts = profiles = llm_profiles(context)
    assert [profile.name for profile in profiles] == ["first", "suffix", "decode", "prompts"]
    for profile in profiles:
        assert all(low <= usual <= high for low, usual, high in profile.axes.values())
    whole = min(4096, context)
    assert first.holds(run(1, whole, 0, 0)) and first.holds(run(1, whole, 0, min(256, context)))
    assert not first.holds(run(1, whole + 1, 0, 1)) and not first.holds(run(1, 1, 1, 1))
    # As runs come: rows and past rounded up, to the whole cache where that is nearer.
    steps = row_steps(profiles)
    assert steps[-1] == min(512, context) and set(steps[:-1]) <= set(ROW_STEPS)
    for past in (0, min(PAST_STEP, context), context):
        assert all(suffix.holds(run(1, rows, past, min(rows, 256))) for rows in steps[1:])
        assert decode.holds(run(1, 1, past, 1)) and decode.holds(run(1, 16, past, 16))
    assert not decode.holds(run(1, 17, 0, 1)) and not suffix.holds(run(1, steps[-1] + 1, 0, 1))
    assert decode.axes[c.PAST][1] in (context, *range(PAST_STEP, context, PAST_STEP)), "tuned for a length that comes"
    longest = min(BATCHED_TOKENS, context)
    assert prompts.holds(run(MAX_BATCH, longest, context - 1, MAX_BATCH * MAX_DRAFT))
    assert not prompts.holds(run(1, 2, 0, 1))


def test_the_most_of_each_profile_is_what_the_language_model_asks_for() -> None:
    assert MOST_TOKENS["suffix"] == ROW_STEPS[-1] and MOST_TOKENS["decode"] == ROW_STEPS[1]
    assert MOST_TOKENS["prompts"] == MAX_BATCH * BATCHED_TOKENS
    assert MOST_LOGITS["prompts"] == MAX_BATCH * MAX_DRAFT
    for profile in llm_profiles(8192):
        assert profile.axes[c.BATCH][2] * profile.axes[c.SEQUENCE][2] == MOST_TOKENS[profile.name]
        assert profile.axes[c.ROWS][2] == MOST_LOGITS[profile.name]


def test_each_run_takes_the_narrowest_profile() -> None:
    profiles = llm_profiles(4096)

    def chosen(batch: int, sequence: int, past: int, rows: int) -> str:
        axes = run(batch, sequence, past, rows)
        shapes = {
            tensor.name: tuple(axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)
            for tensor in LLM.inputs
        }
        return profiles[choose_profile(LLM, profiles, shapes)].name

    assert chosen(1, 1849, 0, 1) == "first"
    assert chosen(1, 64, 0, 16) == chosen(1, 64, 2048, 16) == "suffix"
    assert chosen(1, 1, 2048, 1) == chosen(1, 16, 4096, 16) == chosen(1, 1, 0, 0) == "decode"
    assert chosen(8, 24, 1849, 64) == "prompts"


PHI3, QWEN3 = Heads(32, 96, 32014), Heads(32, 128, 151672)


@pytest.mark.parametrize("heads", [PHI3, QWEN3])
def test_contexts_of_all_targets_can_be_built(heads: Heads) -> None:
    for context in (2048, 4096, 8192):
        assert longest_context(heads, 1849, context) == context


@pytest.mark.parametrize("heads", [PHI3, QWEN3, Heads(64, 128, 152000)])
def test_no_tensor_is_larger_than_the_compiler_counts(heads: Heads) -> None:
    longest = longest_context(heads, 1849, 1 << 18)

    def largest(context: int) -> int:
        return max(
            heads.count * tokens * (profile.axes[c.PAST][2] + tokens)
            for profile in llm_profiles(context)
            for tokens in [profile.axes[c.BATCH][2] * profile.axes[c.SEQUENCE][2]]
        )

    assert longest % 256 == 0 and largest(longest) <= MAX_VALUES < largest(longest + 256)
    assert longest_context(heads, 1849, longest) == longest
    assert longest_context(heads, 1849, longest + 256) == longest


def test_a_model_of_which_nothing_fits() -> None:
    assert longest_context(Heads(32, 128, 1 << 30), 1849, 4096) == 0


def test_shapes_name_every_dynamic_input() -> None:
    _, _, decode, _ = llm_profiles(1000)
    shapes = input_shapes(LLM, decode)
    assert set(shapes) == {tensor.name for tensor in LLM.inputs}
    assert shapes[c.INPUTS_EMBEDS] == ((1, 1, 8), (1, 1, 8), (1, 16, 8))
    low, usual, high = shapes[c.past_key(0)]
    assert (low, high) == ((1, 0, 2, 4), (1, 1000, 2, 4))
    assert low < usual < high


def test_a_graph_of_one_prompt_has_no_profile_for_several() -> None:
    inputs = (TensorSpec(c.INPUTS_EMBEDS, "float16", (1, c.SEQUENCE, 8)), *LLM.inputs[1:])
    profiles = profiles_of(replace(LLM, inputs=inputs), c.LLM, MODEL, 1000)
    assert [profile.name for profile in profiles] == ["first", "suffix", "decode"]
    assert all(c.BATCH not in profile.axes for profile in profiles)


def test_the_encoder_has_one_profile_without_axes() -> None:
    spec = GraphSpec("image_encoder.onnx", (TensorSpec(c.PIXEL_VALUES, "float32", (1, 3, 8, 8)),), ())
    (profile,) = profiles_of(spec, c.IMAGE_ENCODER, MODEL, 1000)
    assert profile.axes == {}
    assert input_shapes(spec, profile) == {}


def test_the_mask_decoder_takes_one_prompt_or_several_and_long_lists() -> None:
    seg = TensorSpec(c.SEG_EMBED, "float32", (c.BATCH, 1, 8))
    spec = GraphSpec("d.onnx", (seg, TensorSpec(c.CONDITION_EMBEDS, "float32", (c.BATCH, c.CONDITIONS, 8))), ())
    one, several = profiles_of(spec, c.MASK_DECODER, MODEL, 1000)
    for conditions in (1, 1203):
        assert one.holds({c.BATCH: 1, c.CONDITIONS: conditions})
        assert several.holds({c.BATCH: 8, c.CONDITIONS: conditions})
    assert not one.holds({c.BATCH: 2, c.CONDITIONS: 1}) and not several.holds({c.BATCH: 1, c.CONDITIONS: 1})
    assert input_shapes(spec, several)[c.CONDITION_EMBEDS][2] == (8, MAX_CONDITIONS, 8)
    fixed = replace(spec, inputs=(TensorSpec(c.CONDITION_EMBEDS, "float32", (1, c.CONDITIONS, 8)),))
    (only,) = profiles_of(fixed, c.MASK_DECODER, MODEL, 1000)
    assert set(input_shapes(fixed, only)) == {c.CONDITION_EMBEDS}
