"""Which prompts on one image share a forward of the language model.

All begin with the image, which is computed once; behind it the prompts stand side by side, padded on the right to the
longest: no token sees what follows it, so padding changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_BATCH = 8
"""Prompts in one forward. Activations grow with it, and beyond a few hundred rows a forward gains nothing."""

BATCHED_TOKENS = 256
"""Tokens that a prompt of a batch may have behind the image; a longer one fills a forward by itself."""

_ROWS = 512  # of one forward, unless the image has more: then its prefill is larger anyway


def batches(lengths: Sequence[int], shared: int, capacity: int) -> list[list[int]]:
    """Divide sequences into batches of similar length, the longest of each last.

    ``shared`` rows at the beginning of all are computed already. The rows of a batch, padding included, fit into the
    rest of a cache of ``capacity`` tokens, where their keys and values are written.
    """
    limit = min(capacity - shared, max(shared, _ROWS))
    divided: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        size, rows = len(divided[-1]) + 1 if divided else 1, lengths[index] - shared
        if divided and size <= MAX_BATCH and rows <= BATCHED_TOKENS and size * rows <= limit:
            divided[-1].append(index)
        else:
            divided.append([index])
    return divided
