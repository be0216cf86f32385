"""Whether a model fits a target with a context, and which options make it fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xsam_edge.export.engines import flavours
from xsam_edge.export.engines.footprint import lower_precisions, smaller_variants
from xsam_edge.export.engines.profiles import Heads
from xsam_edge.export.engines.profiles import longest_context as longest_profiles
from xsam_edge.export.engines.targets import Target
from xsam_edge.runtime.device.memory_plan import Footprint, MemoryPlan, longest_context, plan
from xsam_edge.runtime.errors import DeviceMemoryError, InputError
from xsam_edge.runtime.units import size


@dataclass(frozen=True)
class Fit:
    """A model's memory plan on a target. ``would_fit``: options that make it fit, none where it does."""

    facts: Footprint
    memory: MemoryPlan
    target: Target
    fits: bool
    would_fit: tuple[str, ...] = ()


def fit_target(facts: Footprint, context: int, target: Target) -> Fit:
    """Plan the memory of a model with ``context`` tokens (0: the target's). A target of unknown memory fits all.

    Raises:
        InputError: a context that the model does not have.
    """
    context = _context(facts, context, target)
    wanted = plan(facts, context)
    if target.memory is None or wanted.fits(target.memory):
        return Fit(facts, wanted, target, fits=True)
    return Fit(facts, wanted, target, fits=False, would_fit=tuple(options_that_fit(facts, context, target)))


def check_fits(fit: Fit) -> None:
    """Refuse what does not fit.

    Raises:
        DeviceMemoryError: the message names the options that make it fit.
    """
    facts, memory = fit.facts, fit.target.memory
    if fit.fits or memory is None:
        return
    advice = (
        f"it fits with {', or '.join(fit.would_fit)}"
        if fit.would_fit
        else "no precision, context or variant makes it fit"
    )
    raise DeviceMemoryError(
        f"{facts.variant} in {facts.precision} with a context of {fit.memory.context} tokens needs "
        f"{size(fit.memory.needed(memory.shared))}, {fit.target.name} has {size(memory.available)} to give; {advice}"
    )


def options_that_fit(facts: Footprint, context: int, target: Target) -> Iterator[str]:
    """What would make a model fit a target of known memory, the mildest first.

    A shorter context or a lower precision; both, where neither does; and a smaller variant.
    """
    memory = target.memory
    assert memory is not None
    eight_bits = flavours.eight_bits(target.compute_capability)
    lower, smaller = lower_precisions(facts, eight_bits), list(smaller_variants(facts, eight_bits))
    shorter = longest_context(facts, memory, context)
    if shorter:
        yield f"--context {shorter}"
    plans = {other.precision: plan(other, context) for other in lower}
    fitting = {precision: wanted for precision, wanted in plans.items() if wanted.fits(memory)}
    for precision, wanted in fitting.items():
        yield f"--precision {precision} ({size(wanted.needed(memory.shared))})"
    if not shorter and not fitting:
        for other in lower:
            if both := longest_context(other, memory, context):
                yield f"--precision {other.precision} --context {both}"
    for other in smaller:
        if (wanted := plan(other, context)).fits(memory):
            yield f"--variant {other.variant} --precision {other.precision} ({size(wanted.needed(memory.shared))})"
            return
    # The last and smallest is worth a shorter context.
    if smaller and (both := longest_context(smaller[-1], memory, context)):
        yield f"--variant {smaller[-1].variant} --precision {smaller[-1].precision} --context {both}"


def _context(facts: Footprint, wanted: int, target: Target) -> int:
    context = wanted or min(target.context, facts.context_limit)
    if not facts.image_tokens < context <= facts.context_limit:
        raise InputError(
            f"a context of {context} tokens cannot be built; choose one above the {facts.image_tokens} of an image "
            f"and up to the model's {facts.context_limit} with --context"
        )
    heads = Heads(facts.heads, facts.head_dim, facts.vocabulary)
    longest = longest_profiles(heads, facts.image_tokens, context)
    if longest < context:
        advice = f"--context {longest} would fit" if longest > facts.image_tokens else "no context would fit"
        raise InputError(
            f"a context of {context} tokens cannot be built: a tensor of the language model would have 2^31 values or "
            f"more, which TensorRT does not count; {advice}"
        )
    return context
