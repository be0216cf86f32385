"""Which model fits which board: the table of ``README.md``, from the sizes of models and the compiler's figures."""

from __future__ import annotations

from collections.abc import Iterator

from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.engines.fit import fit_target
from xsam_edge.export.engines.footprint import config_footprint, llm_weights
from xsam_edge.export.engines.targets import TARGETS, Target
from xsam_edge.runtime.device.memory_plan import Footprint, longest_context
from xsam_edge.runtime.units import size

PRECISIONS = ("fp16", "int8", "int4")
SHOWN = ("orin-nano", "orin-nx", "agx-orin", "rtx-30")
_LARGE = 10**9  # weights of a language model from which on it asks what it fits on
_CONTEXT = 4096


def boards() -> str:
    """The table as Markdown, a line for each target and variant."""
    lines = ["| target | variant | context | " + " | ".join(PRECISIONS) + " |", "|---" * (3 + len(PRECISIONS)) + "|"]
    return "\n".join([*lines, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for target in (TARGETS[name] for name in SHOWN):
        for name in _models():
            facts = [config_footprint(VARIANTS[name].config, name, precision) for precision in PRECISIONS]
            context = min(target.context, facts[0].context_limit, _CONTEXT)
            cells = " | ".join(_cell(item, context, target) for item in facts)
            yield f"| `{target.name}` | `{name}` | {context:,} | {cells} |"


def _models() -> Iterator[str]:
    """Variants of the main line with a large language model, the largest first."""
    sizes = {name: llm_weights(variant.config.llm) for name, variant in VARIANTS.items() if variant.line == "main"}
    yield from sorted((name for name, size in sizes.items() if size > _LARGE), key=lambda name: -sizes[name])


def _cell(facts: Footprint, context: int, target: Target) -> str:
    """What a model needs where it fits; else the context that would, if any."""
    fit, memory = fit_target(facts, context, target), target.memory
    assert memory is not None, "it is not known of auto alone"
    needed = size(fit.memory.needed(memory.shared))
    if fit.fits:
        return needed
    shorter = longest_context(facts, memory, context)
    return f"no, {needed}" + (f"; `--context {shorter}`" if shorter else "")
