"""How much of a GPU's memory is in use, by whomever."""

from __future__ import annotations

import torch


def used_bytes() -> int:
    """Bytes in use on the current device."""
    free, total = torch.cuda.mem_get_info()
    return total - free
