"""The bias that hides keys from attention."""

from __future__ import annotations

import torch
from torch import Tensor

# Stands for minus infinity. A finite value, since infinities turn into NaN in a row that is hidden altogether, and in
# float16 arithmetic. The softmax of a hidden key is still exactly zero in every precision: exp() underflows far above
# -3e4, and sums with scores smaller than 3.5e4 in size stay finite in float16.
MASKED_SCORE = -3e4


def hide(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """Bool, true where a key is hidden, to the bias on attention scores: 0 or ``MASKED_SCORE``."""
    return hidden.to(dtype) * MASKED_SCORE
