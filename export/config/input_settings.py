"""How images become pixels: the parts' ``preprocessor_config.json``, or a variant's values for the model's sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xsam_edge.export.config.inits import Part, find_part, read_json
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput
from xsam_edge.runtime.errors import CheckpointError


def vision_input(config: ModelConfig, variant: Variant, inits: Path | None = None) -> VisionInput:
    """Give the vision encoder's input rule. Padding to a square is the variant's, never the file's.

    Raises CheckpointError when the file is damaged, skips a step, or its size is not the encoder's.
    """
    expected, default = config.vision_encoder, variant.vision_input
    read = _preprocessor(inits, "vision_encoder", variant)
    if read is None:
        return replace(default, height=expected.image_size, width=expected.image_size)
    source, content = read
    size = content.get("size", {})
    height, width = _edges(source, {"height": size, "width": size} if isinstance(size, int) else size)
    patch = expected.patch_size
    if (height // patch, width // patch) != (expected.image_size // patch,) * 2:
        raise CheckpointError(
            f"{source} makes images of {height} x {width}; the vision encoder takes {expected.image_size} px"
        )
    # The resampling filter that SiglipImageProcessor uses when a file names none is bicubic, 3 in PIL.
    return replace(default, height=height, width=width, **_common(source, content, resample=3))


def mask_input(config: ModelConfig, variant: Variant, inits: Path | None = None) -> MaskInput:
    """Give the mask encoder's input rule. Raises CheckpointError as ``vision_input`` does."""
    edge, default = config.mask_encoder.image_size, variant.mask_input
    read = _preprocessor(inits, "mask_encoder", variant)
    if read is None:
        return replace(default, longest_edge=edge, height=edge, width=edge)
    source, content = read
    height, width = _edges(source, content.get("pad_size", {"height": edge, "width": edge}))
    size = content.get("size", {"longest_edge": edge})
    longest = size.get("longest_edge") if isinstance(size, dict) else size
    if (height, width) != (edge, edge) or type(longest) is not int or not 0 < longest <= edge:
        raise CheckpointError(
            f"{source} scales to {longest!r} and pads to {height} x {width}; the mask encoder takes {edge} px"
        )
    # SamImageProcessor resamples bilinearly, 2 in PIL, when a file names no filter.
    return replace(default, longest_edge=longest, height=height, width=width, **_common(source, content, resample=2))


def _preprocessor(inits: Path | None, part: Part, variant: Variant) -> tuple[Path, dict[str, Any]] | None:
    folder = None if inits is None else find_part(inits, part, variant)
    if folder is None or not (folder / "preprocessor_config.json").is_file():
        return None
    return folder / "preprocessor_config.json", read_json(folder / "preprocessor_config.json")


def _edges(source: Path, size: Any) -> tuple[int, int]:
    height, width = (size.get("height"), size.get("width")) if isinstance(size, dict) else (None, None)
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise CheckpointError(f"{source} has the size {size!r}; expected height and width")
    return int(height), int(width)


def _common(source: Path, content: dict[str, Any], resample: int) -> dict[str, Any]:
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if content.get(step, True) is not True:
            raise CheckpointError(f"{source} has {step} {content[step]}: not supported, expected true")
    fields: dict[str, Any] = {}
    try:
        for key, name in (("image_mean", "mean"), ("image_std", "std")):
            if key in content:
                red, green, blue = content[key]
                fields[name] = (float(red), float(green), float(blue))
        if "rescale_factor" in content:
            fields["rescale_factor"] = float(content["rescale_factor"])
        fields["resample"] = int(content.get("resample", resample))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source} is damaged: {error}") from error
    return fields
