"""Work out the mask encoder's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xsam_edge.export.config.hidden_states import default_taps, hidden_state, tapped_states
from xsam_edge.export.config.inits import vision_section
from xsam_edge.export.config.sizes import MaskEncoderConfig
from xsam_edge.export.config.tensor_shapes import Shapes, agree, divide
from xsam_edge.export.infer.encoder_depth import encoder_depth
from xsam_edge.export.infer.evidence import Evidence
from xsam_edge.runtime.errors import CheckpointError

_STEM = "segmentor.encoder"
# Fields that weights do not always tell, by their names in a file.
_KEYS = {
    "num_layers": "num_hidden_layers",
    "window_size": "window_size",
    "global_attention_layers": "global_attn_indexes",
}


def mask_encoder(evidence: Evidence, levels: int) -> MaskEncoderConfig:
    """Work them out, for a decoder of ``levels`` levels. Raises as ``config_from_checkpoint``."""
    tensors, registered = evidence.tensors, evidence.variant.config.mask_encoder
    folder = evidence.folder("mask_encoder")
    file = {} if folder is None else vision_section(folder)
    chosen = evidence.chosen_keys("mask_encoder", _KEYS)
    sizes = _sizes(tensors)
    layers, taps = _layers(evidence, (file | chosen).get("num_hidden_layers"), levels)
    windows = _windows(tensors)
    window, global_layers = windows or _told_windows(tensors, file | chosen)
    config = MaskEncoderConfig(
        **sizes,
        num_layers=layers,
        window_size=window,
        global_attention_layers=global_layers,
        taps=taps,
        layer_norm_eps=file.get("layer_norm_eps", registered.layer_norm_eps),
        hidden_act=file.get("hidden_act", registered.hidden_act),
    )
    _check_file(config, file | dict.fromkeys(chosen), f"{folder}/config.json", tensors)
    shown = [*sizes, "num_layers", *(("window_size", "global_attention_layers") if windows else ())]
    return replace(evidence.settle("mask_encoder", config, shown), taps=taps)


def _sizes(tensors: Shapes) -> dict[str, int]:
    hidden, channels, patch, _ = tensors.shape(f"{_STEM}.patch_embed.projection.weight", 4)
    head_dim = tensors.shape(f"{_STEM}.layers.0.attn.rel_pos_h", 2)[1]
    return {
        "hidden_size": hidden,
        "mlp_dim": tensors.shape(f"{_STEM}.layers.0.mlp.lin1.weight", 2)[0],
        "num_heads": divide(hidden, head_dim, "mask encoder's hidden size by head size"),
        "image_size": _grid(tensors) * patch,
        "patch_size": patch,
        "num_channels": channels,
    }


def _grid(tensors: Shapes) -> int:
    _, height, width, _ = tensors.shape(f"{_STEM}.pos_embed", 4)
    if height != width:
        raise CheckpointError(f"{_STEM}.pos_embed is {height} x {width}; only square images are supported")
    return height


def _present(tensors: Shapes) -> int:
    return tensors.layers(f"{_STEM}.layers")


def _layers(evidence: Evidence, told: int | None, levels: int) -> tuple[int, tuple[int, ...]]:
    """How many layers there are, and the taps counted from 0."""
    chosen = evidence.chosen("mask_encoder")
    select = chosen.get("select_layer", evidence.variant.config.mask_encoder.select_layer)

    def taps(depth: int) -> tuple[int, ...]:
        return tapped_states(chosen.get("taps", default_taps(depth, levels)), depth)

    def states(depth: int) -> list[int]:
        return [hidden_state(select, depth, "mask_encoder.select_layer"), *taps(depth)]

    layers = encoder_depth(_present(evidence.tensors), told, states)
    return layers, taps(layers)


def _windows(tensors: Shapes) -> tuple[int, tuple[int, ...]] | None:
    """Window size and global layers, None where every layer could be either.

    A table of relative positions has 2 * size - 1 rows (SamVisionAttention).
    """
    rows = [tensors.shape(f"{_STEM}.layers.{layer}.attn.rel_pos_h", 2)[0] for layer in range(_present(tensors))]
    sizes = [divide(length + 1, 2, "relative positions of the mask encoder") for length in rows]
    if len(set(sizes)) > 2:
        raise CheckpointError(
            f"the mask encoder's layers have {len(set(sizes))} window sizes {sorted(set(sizes))}; expected one"
        )
    if len(set(sizes)) == 2:
        # The wider table is that of the global layers, even where an encoder was enlarged and it is interpolated.
        return min(sizes), tuple(layer for layer, size in enumerate(sizes) if size == max(sizes))
    # A window as large as the grid is the same as global attention.
    return None if sizes[0] == _grid(tensors) else (sizes[0], ())


def _told_windows(tensors: Shapes, told: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    layers = told.get("global_attn_indexes") or range(_present(tensors))
    return told.get("window_size") or _grid(tensors), tuple(layers)


def _check_file(config: MaskEncoderConfig, file: Mapping[str, Any], source: str, tensors: Shapes) -> None:
    weights = {
        "hidden_size": config.hidden_size,
        "mlp_dim": config.mlp_dim,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.num_channels,
        "window_size": config.window_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "global_attn_indexes": list(config.global_attention_layers),
    }
    present = [layer for layer in file.get("global_attn_indexes") or () if layer < _present(tensors)]
    agree("mask encoder", weights, {**file, "global_attn_indexes": present or None}, source)
