"""How many values a model keeps while it runs: what a memory plan multiplies by their size."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_edge.runtime.bundle.constraints import Count


@dataclass(frozen=True)
class ActivationSizes:
    """Values that are alive at once in each graph, none of them fused away: an upper estimate.

    The language model's are ``llm_token`` for each new token, ``llm_context`` for each token that is seen, cached
    ones included, and ``llm_score`` for each pair of both.
    """

    image_encoder: Count
    mask_decoder: Count
    llm_token: Count
    llm_context: Count
    llm_score: Count

    def llm(self, context: int) -> int:
        """Values of a prefill that fills ``context``."""
        return context * (self.llm_token + self.llm_context + context * self.llm_score)
