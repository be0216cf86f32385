"""What ``--config`` sets: sizes by dotted name, such as ``llm.num_layers``, or in objects of one part each."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from xsam_edge.export.config.check import check_config, feature_channels
from xsam_edge.export.config.hidden_states import default_taps, tapped_states
from xsam_edge.export.config.schema import SIZES
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.bundle.conversion import shown
from xsam_edge.runtime.errors import InputError

#: Part -> field -> value, of the type that the field has.
Overrides = Mapping[str, Mapping[str, Any]]

_PARTS = frozenset(name.partition(".")[0] for name in SIZES)
_LISTED = 3  # unknown names that an error lists: another file altogether has many

#: Names that ``--config`` had for checkpoints, and what to write now.
_RENAMED = {
    "extra_select_layers": "mask_encoder.taps (those of the levels only, high resolution first)",
    "visual_select_layer": "vision_encoder.select_layer and mask_encoder.select_layer",
    "num_attention_heads": "llm.num_heads",
    "rope_theta": "llm.rope_theta",
    "rms_norm_eps": "llm.rms_norm_eps",
    "sliding_window": "llm.sliding_window",
    "context_length": "llm.context_length",
    "vision_num_attention_heads": "vision_encoder.num_heads",
    "decoder_num_points": "mask_decoder.num_points",
    "logit_clamp": "mask_decoder.logit_clamp",
}


def read_overrides(content: Mapping[str, Any]) -> Overrides:
    """Check names and values of a decoded JSON object; what this returns may be given again.

    Raises:
        InputError: unknown names, with the nearest known one of each that has one; a part that is no object; a name
            that is given twice; or a value of another type or outside of its range.
    """
    pairs = list(_flat(content))
    names = [name for name, _ in pairs]
    for name in names:
        if name in _RENAMED:
            raise InputError(f"{name} has another name in --config: write {_RENAMED[name]} instead")
    for name, value in pairs:
        if name in _PARTS:
            raise InputError(f"{name} is {shown(value)} in --config; expected an object of its sizes, by their names")
    if unknown := [name for name in names if name not in SIZES]:
        raise InputError(
            f"--config has unknown names: {', '.join(map(_with_nearest, unknown[:_LISTED]))}"
            + (f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else "")
            + "; a name is that of a part and a size, such as llm.num_layers"
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--config has {min(twice)} twice, as a name and in an object: keep one")
    overrides: dict[str, dict[str, Any]] = {}
    for name, value in pairs:
        part, _, field = name.partition(".")
        overrides.setdefault(part, {})[field] = SIZES[name].read(value)
    return overrides


def random_config(variant: Variant, content: Mapping[str, Any] | None = None) -> ModelConfig:
    """Give a variant's full-size configuration with what ``--config`` sets, for random weights.

    A mask encoder of another depth gets its taps and global layers at the quarter points, as in the released model,
    and one of another width its feature channels.

    Raises:
        InputError: as ``read_overrides``, or sizes that do not fit each other.
    """
    parts = {part: dict(fields) for part, fields in read_overrides(content or {}).items()}
    config, mask = variant.config, parts.setdefault("mask_encoder", {})
    if depth := mask.get("num_layers"):
        mask.setdefault("taps", default_taps(depth, config.mask_decoder.num_levels))
        mask.setdefault("global_attention_layers", tuple(sorted({max(s - 1, 0) for s in default_taps(depth, 4)})))
    config = replace(config, **{part: replace(getattr(config, part), **fields) for part, fields in parts.items()})
    encoder, decoder = config.mask_encoder, config.mask_decoder
    encoder = replace(encoder, taps=tapped_states(encoder.taps, encoder.num_layers))
    if "feature_channels" not in parts.get("mask_decoder", {}):
        decoder = replace(decoder, feature_channels=feature_channels(encoder.hidden_size, config.connector.scales))
    config = replace(config, mask_encoder=encoder, mask_decoder=decoder)
    check_config(config)
    return config


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _with_nearest(name: str) -> str:
    nearest = difflib.get_close_matches(name, SIZES, n=1)
    if not nearest:  # the name of a size without its part
        sizes = {size.rpartition(".")[2]: size for size in SIZES}
        nearest = [sizes[size] for size in difflib.get_close_matches(name.rpartition(".")[2], sizes, n=1)]
    return shown(name) + (f" (the nearest known one is {nearest[0]})" if nearest else "")
