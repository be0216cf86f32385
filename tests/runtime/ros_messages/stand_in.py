"""Message types of no library: whatever fields they are given, by the name of the type."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from xsam_edge.runtime.ros_messages.fill import Types


def _get(name: str) -> Callable[..., Any]:
    return lambda **fields: SimpleNamespace(type=name, **fields)


TYPES = Types(_get, bytes)
