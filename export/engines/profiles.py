"""Optimisation profiles: between which sizes each dynamic axis lies, and which are tuned for."""

from __future__ import annotations

from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.bundle.settings import ModelFacts
from xsam_edge.runtime.language.batch import BATCHED_TOKENS, MAX_BATCH

PREFILL, DECODE, PROMPTS, ONLY = "prefill", "decode", "prompts", "only"

# The longest lists of classes in use have about 1,200 names; a condition costs one row of class logits.
MAX_CONDITIONS = 2048
_USUAL_CONDITIONS = 133  # COCO's panoptic classes
# Logits are asked for at one position, or at none; at a block of them when a bundle is verified.
MAX_ROWS = 256
# Text of a prompt and of an answer, as most of them are long.
_PROMPT, _ANSWER = 96, 32


def profiles_for(spec: GraphSpec, graph: str, model: ModelFacts, context: int) -> tuple[EngineProfile, ...]:
    """The profiles of one graph for a context of ``context`` tokens, in the engine's order.

    The language model has three: prefill takes any number of new tokens behind any past, decode exactly one
    behind a past that may be padded, and prompts several short sequences behind the same past. A graph without dynamic
    axes has one profile without axes.
    """
    if graph == contract.LLM:
        profiles = _llm(model, context)
    else:
        conditions = (1, _USUAL_CONDITIONS, MAX_CONDITIONS)
        profiles = (EngineProfile(ONLY, {contract.BATCH: (1, 1, MAX_BATCH), contract.CONDITIONS: conditions}),)
    named = {axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, str)}
    return tuple(
        EngineProfile(profile.name, {axis: sizes for axis, sizes in profile.axes.items() if axis in named})
        for profile in profiles
        if profile.name != PROMPTS or contract.BATCH in named
    )


def _llm(model: ModelFacts, context: int) -> tuple[EngineProfile, ...]:
    # The costly prefill is an image's first, with no past; tuned for a past of some rows, as none make no kernels.
    prompt = min(context, model.image_tokens + _PROMPT)
    rows = (0, 1, min(MAX_ROWS, context))
    prefill = {
        contract.BATCH: (1, 1, 1),
        contract.SEQUENCE: (1, prompt, context),
        contract.PAST: (0, min(_PROMPT, context - 1), context - 1),
        contract.ROWS: rows,
    }
    # The past of a step comes rounded up, to the whole cache at most.
    usual = -(-(prompt + _ANSWER) // PAST_STEP) * PAST_STEP
    decode = {
        contract.BATCH: (1, 1, 1),
        contract.SEQUENCE: (1, 1, 1),
        contract.PAST: (0, min(usual, context), context),
        contract.ROWS: (0, 1, 1),
    }
    longest = min(BATCHED_TOKENS, context)
    prompts = {
        contract.BATCH: (2, MAX_BATCH, MAX_BATCH),
        contract.SEQUENCE: (1, min(_ANSWER, longest), longest),
        contract.PAST: (0, min(prompt, context - 1), context - 1),
        contract.ROWS: (0, MAX_BATCH, MAX_ROWS),
    }
    return EngineProfile(PREFILL, prefill), EngineProfile(DECODE, decode), EngineProfile(PROMPTS, prompts)


def input_shapes(spec: GraphSpec, profile: EngineProfile) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Smallest, likeliest and largest shape of each input that is not of fixed size."""
    return {
        tensor.name: profile.shapes(tensor.shape)
        for tensor in spec.inputs
        if any(isinstance(axis, str) for axis in tensor.shape)
    }
