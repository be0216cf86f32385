"""How many values a model keeps while it runs: what a memory plan multiplies by their size."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_edge.runtime.bundle.constraints import Count
from xsam_edge.runtime.bundle.engine_info import FIRST, MOST_LOGITS, MOST_TOKENS


@dataclass(frozen=True)
class ActivationSizes:
    """Values that are alive at once in each graph.

    Of the language model there are ``llm_token`` for each new token and ``llm_context`` for each token that is seen,
    cached ones included, in an attention; ``llm_wide`` for each new token in a feed-forward module; in both
    ``llm_score`` for each pair of a new and a seen token; ``llm_logits`` for each token whose logits are asked for, and
    ``llm_fixed`` whatever an attention is of. Where attention is fused (``llm_wide`` above 0), as in engines, a run has
    the tokens of a profile; else one run may fill the context. ``llm_heads`` are those of queries, whose scores a
    compiler counts even where they lie nowhere.
    """

    image_encoder: Count
    mask_decoder: Count
    llm_token: Count
    llm_context: Count
    llm_score: Count
    llm_wide: Count = 0
    llm_logits: Count = 0
    llm_fixed: Count = 0
    llm_heads: Count = 0

    def llm(self, context: int) -> int:
        """Values of the largest run in a cache of ``context`` tokens."""
        if not self.llm_wide:
            return self._run(context, context, 0)
        return max(self.profile(name, context) for name in MOST_TOKENS)

    def profile(self, name: str, context: int) -> int:
        """Values of the largest run in one of the language model's profiles."""
        rows = min(MOST_TOKENS[name], context)
        return self._run(rows, rows if name == FIRST else context + rows, MOST_LOGITS[name])

    def _run(self, rows: int, seen: int, logits: int) -> int:
        """``rows`` new tokens see ``seen``, themselves among them."""
        attention = rows * self.llm_token + seen * self.llm_context + self.llm_fixed
        layers = max(attention, rows * self.llm_wide) + rows * seen * self.llm_score
        return max(layers, logits * self.llm_logits)
