"""Optimisation profiles: between which sizes each dynamic axis lies, and which are tuned for."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_edge.runtime.backends.tensorrt.plan import PAST_STEP
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import (
    DECODE,
    FIRST,
    MOST_LOGITS,
    MOST_TOKENS,
    PROMPTS,
    SUFFIX,
    EngineProfile,
)
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.bundle.settings import ModelFacts
from xsam_edge.runtime.language.batch import BATCHED_TOKENS, MAX_BATCH

ONLY, ONE, SEVERAL = "only", "one", "several"

# The longest lists of classes in use have about 1,200 names; a condition costs one row of class logits.
MAX_CONDITIONS = 2048
_USUAL_CONDITIONS = 133  # COCO's panoptic classes
# Text of a prompt and of an answer, as most of them are long; and a prompt behind an image, rounded up, with its draft.
_PROMPT, _ANSWER = 96, 32
_USUAL_SUFFIX, _USUAL_LOGITS = 64, 16
# Values of a tensor: above, the compiler's figures wrap around without a word.
MAX_VALUES = (1 << 31) - 1


def profiles_for(spec: GraphSpec, graph: str, model: ModelFacts, context: int) -> tuple[EngineProfile, ...]:
    """The profiles of one graph for a context of ``context`` tokens, in the engine's order.

    Those of the language model are ``first`` (tokens without a past), ``suffix`` (up to 512 behind any past),
    ``decode`` (one, or a few that were looked up) and ``prompts`` (several sequences behind the same past); numbers of
    tokens and pasts of ``suffix`` and ``decode`` come rounded up. The mask decoder has one for one prompt and one for
    several. A graph without dynamic axes has one profile without axes.
    """
    named = spec.axes
    if graph == contract.LLM:
        profiles = _llm(model.image_tokens, context)
    elif graph == contract.MASK_DECODER:
        conditions = (1, _USUAL_CONDITIONS, MAX_CONDITIONS)
        profiles = (
            EngineProfile(ONE, {contract.BATCH: (1, 1, 1), contract.CONDITIONS: conditions}),
            EngineProfile(SEVERAL, {contract.BATCH: (2, 2, MAX_BATCH), contract.CONDITIONS: conditions}),
        )
    else:
        profiles = (EngineProfile(ONLY, {}),)
    return tuple(
        EngineProfile(profile.name, {axis: sizes for axis, sizes in profile.axes.items() if axis in named})
        for profile in profiles
        if contract.BATCH in named or profile.name not in (PROMPTS, SEVERAL)
    )


def _llm(image_tokens: int, context: int) -> tuple[EngineProfile, ...]:
    prompt = min(context, image_tokens + _PROMPT)
    most = {name: min(tokens, context) for name, tokens in MOST_TOKENS.items()}
    batched = min(BATCHED_TOKENS, context)
    past = (0, min(_rounded(prompt), context), context)
    one = (1, 1, 1)
    first = {
        contract.BATCH: one,
        contract.SEQUENCE: (1, min(prompt, most[FIRST]), most[FIRST]),
        contract.PAST: (0, 0, 0),
        contract.ROWS: (0, 1, min(MOST_LOGITS[FIRST], most[FIRST])),
    }
    suffix = {
        contract.BATCH: one,
        contract.SEQUENCE: (1, min(_USUAL_SUFFIX, most[SUFFIX]), most[SUFFIX]),
        contract.PAST: past,
        contract.ROWS: (0, min(_USUAL_LOGITS, most[SUFFIX]), min(MOST_LOGITS[SUFFIX], most[SUFFIX])),
    }
    decode = {
        contract.BATCH: one,
        # Most are of one token. A profile of exactly one would have the compiler store weights in a second layout.
        contract.SEQUENCE: (1, 1, most[DECODE]),
        contract.PAST: past,
        contract.ROWS: (0, 1, most[DECODE]),
    }
    prompts = {
        contract.BATCH: (2, MAX_BATCH, MAX_BATCH),
        contract.SEQUENCE: (1, min(_ANSWER, batched), batched),
        contract.PAST: (0, min(prompt, context), context),
        contract.ROWS: (0, MAX_BATCH, MOST_LOGITS[PROMPTS]),
    }
    named = {FIRST: first, SUFFIX: suffix, DECODE: decode, PROMPTS: prompts}
    return tuple(EngineProfile(name, axes) for name, axes in named.items())


def _rounded(past: int) -> int:
    return -(-past // PAST_STEP) * PAST_STEP


@dataclass(frozen=True)
class Heads:
    """What sizes of a language model's tensors depend on, besides its profiles."""

    count: int  # of queries
    size: int
    vocabulary: int


def longest_context(heads: Heads, image_tokens: int, context: int) -> int:
    """The longest context up to ``context`` with whose profiles no tensor has 2^31 values, in steps of 256; 0: none."""
    if _largest(_llm(image_tokens, context), heads) <= MAX_VALUES:
        return context
    low, high = 0, context // PAST_STEP
    while low < high:  # the largest tensor grows with the context
        middle = (low + high + 1) // 2
        fits = _largest(_llm(image_tokens, middle * PAST_STEP), heads) <= MAX_VALUES
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * PAST_STEP


def _largest(profiles: tuple[EngineProfile, ...], heads: Heads) -> int:
    """Values of the largest tensor that a profile has: scores, joined keys of all heads, logits."""
    most = 0
    for profile in profiles:
        tokens = profile.axes[contract.BATCH][2] * profile.axes[contract.SEQUENCE][2]
        seen = profile.axes[contract.PAST][2] + tokens
        keys, logits = heads.count * heads.size * seen, profile.axes[contract.ROWS][2] * heads.vocabulary
        most = max(most, heads.count * tokens * seen, keys, logits)
    return most


def input_shapes(spec: GraphSpec, profile: EngineProfile) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Smallest, likeliest and largest shape of each input that is not of fixed size."""
    return {
        tensor.name: profile.shapes(tensor.shape)
        for tensor in spec.inputs
        if any(isinstance(axis, str) for axis in tensor.shape)
    }
