"""Read the Hugging Face style folders that an X-SAM model was initialised from (the official code's ``inits/``).

Four folders, one per part, each with a ``config.json``; two have a ``preprocessor_config.json``, one a tokenizer.
Everything is read as plain JSON.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.bundle import typed_json
from xsam_edge.runtime.errors import CheckpointError

Part = Literal["llm", "vision_encoder", "mask_encoder", "mask_decoder"]

#: Part -> ``model_type`` values of its config.json; a language model's is that of the variant.
_TYPES = {
    "vision_encoder": ("siglip_vision_model", "siglip"),
    "mask_encoder": ("sam", "sam_vision_model"),
    "mask_decoder": ("mask2former",),
}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError when the file is unreadable or holds something else."""
    return typed_json.read_json(path, dict[str, Any], CheckpointError, advice="take the model's own file")


def find_part(inits: Path, part: Part, variant: Variant) -> Path | None:
    """Find one part's folder; one of the name of the variant's repository is taken first.

    Returns:
        The folder, or None when no part has such a configuration.

    Raises:
        CheckpointError: ``inits`` is no folder, or several folders fit and none has the repository's name.
    """
    if not inits.is_dir():
        raise CheckpointError(f"{inits} is no folder; expected the model's inits with one folder per part")
    types = _TYPES.get(part, (variant.config.llm.model_type,))
    fitting = [folder for folder in _parts(inits) if read_json(folder / "config.json").get("model_type") in types]
    named = [folder for folder in fitting if folder.name == getattr(variant.hub, part).split("/")[-1]]
    if not named and len(fitting) > 1:
        listed = ", ".join(folder.name for folder in fitting)
        raise CheckpointError(
            f"{inits} has several folders for the {part} ({listed}): keep the one that was trained with"
        )
    return next(iter(named or fitting), None)


def language_models(inits: Path, types: Collection[str]) -> dict[str, list[Path]]:
    """List the folders with a language model of each of some types; a type without one is left out."""
    folders: dict[str, list[Path]] = {}
    for folder in _parts(inits):
        model_type = read_json(folder / "config.json").get("model_type")
        if isinstance(model_type, str) and model_type in types:
            folders.setdefault(model_type, []).append(folder)
    return folders


def vision_section(folder: Path) -> dict[str, Any]:
    """Read the vision settings of a SigLIP or SAM folder: the nested section, or the whole file of a bare tower."""
    content = read_json(folder / "config.json")
    nested = content.get("vision_config")
    return nested if isinstance(nested, dict) else content


def _parts(inits: Path) -> list[Path]:
    return sorted(path.parent for path in inits.glob("*/config.json"))
