"""Where a user's caches are kept, whoever writes them."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder ``xsam-edge`` of $XDG_CACHE_HOME, or of ~/.cache; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "xsam-edge"
