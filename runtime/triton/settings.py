"""The parameters of ``config.pbtxt``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from xsam_edge.runtime import arguments
from xsam_edge.runtime.bundle.verification import VERIFY, Verify
from xsam_edge.runtime.errors import InputError

#: Scenes that an instance keeps.
DEFAULT_SCENES = 8


@dataclass(frozen=True)
class Settings:
    """``bundle`` and how to load it, as of ``XSam.load``, and how many scenes are kept."""

    bundle: Path
    device: str = "cpu"
    threads: int = 0
    context: int | None = None
    verify: Verify = "full"
    scenes: int = DEFAULT_SCENES


_NAMES = ("bundle", "device", "threads", "context", "verify", "scenes")


def read_settings(parameters: Mapping[str, str], folder: Path) -> Settings:
    """Settings from parameters, all of which are text; a relative ``bundle`` begins at ``folder``, the model's own.

    Triton's own parameters, which are written in capitals, are left alone.

    Raises:
        InputError: no bundle, an unknown parameter, or one that cannot be read.
    """
    if unknown := [name for name in parameters if name not in _NAMES and not name.isupper()]:
        raise InputError(f"config.pbtxt has the parameter {unknown[0]!r}; it takes {', '.join(_NAMES)}")
    if not parameters.get("bundle"):
        raise InputError("config.pbtxt has no parameter bundle; give the folder of a bundle")
    verify = arguments.choice("the parameter verify", parameters.get("verify", "full"), *VERIFY)
    return Settings(
        folder / arguments.path("the parameter bundle", parameters["bundle"], "the folder of a bundle"),
        parameters.get("device", "cpu"),
        _count(parameters, "threads", 0),
        _count(parameters, "context", 0) or None,
        cast(Verify, verify),
        _count(parameters, "scenes", DEFAULT_SCENES),
    )


def _count(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise arguments.wrong(f"the parameter {name}", text, "a whole number from 0 on, as text")
    return arguments.count(f"the parameter {name}", int(text[:20]))
