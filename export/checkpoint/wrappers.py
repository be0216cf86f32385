"""Names without what training frameworks put into them: a module that wraps another adds a part to names below it.

The wrappers of DataParallel and DistributedDataParallel (``module``), torch.compile (``_orig_mod``), FSDP, activation
checkpointing and Lightning's strategies (``_forward_module``) may stand before the whole name or inside of it, once or
several times, in any order, and in some names of a file alone. No tensor of X-SAM has such a part in its name.
``model`` is both a wrapper, as of Lightning, and a part of true names, of which none begins with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
_OUTER = "model."
_PARTS = ("llm.", "segmentor.", "vision_encoder.", "visual_encoder.")  # of X-SAM, one of which is behind ``_OUTER``


def unwrap(names: Collection[str]) -> dict[str, str]:
    """Every name -> the one without wrappers; two names may become one."""
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) or name for name in names}
    return {name: _inside(short) for name, short in plain.items()} if _is_outer(plain.values()) else plain


def _is_outer(names: Iterable[str]) -> bool:
    """Whether ``model`` wraps X-SAM in some of the names, and is not the language model of another one."""
    return any(name.startswith(_OUTER) and _inside(name).startswith(_PARTS) for name in names)


def _inside(name: str) -> str:
    while name.startswith(_OUTER):
        name = name.removeprefix(_OUTER)
    return name
