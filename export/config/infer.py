"""Work out a ``ModelConfig`` from a checkpoint's tensor shapes, the files of its parts, and overrides.

Weights decide every size they show. The files in ``inits`` (or, for a model of the registered sizes, the variant)
give what shapes cannot: attention heads, rotary base, windows, activations. Where both tell, they must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from xsam_edge.export.config.check import check_config, feature_channels
from xsam_edge.export.config.infer_llm import infer_llm
from xsam_edge.export.config.inits import find_part, read_json, vision_section
from xsam_edge.export.config.overrides import check_overrides, choose_taps, default_taps, hidden_state
from xsam_edge.export.config.sizes import (
    ConnectorConfig,
    MaskDecoderConfig,
    MaskEncoderConfig,
    ModelConfig,
    VisionEncoderConfig,
)
from xsam_edge.export.config.tensor_shapes import Shapes, agree, divide, square
from xsam_edge.export.config.variants import Variant, language_model_type
from xsam_edge.runtime.errors import CheckpointError, InputError


def config_from_checkpoint(
    shapes: Mapping[str, tuple[int, ...]],
    variant: Variant,
    inits: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """Work out the sizes of a model.

    Args:
        shapes: name -> shape of every tensor, in ``main`` names.
        variant: gives the logit clamp, and what shapes cannot tell when ``inits`` does not.
        inits: folder with one configuration folder per part.
        overrides: values that win over files and variant; keys as in ``overrides.OVERRIDES``.

    Raises:
        InputError: an unknown override, a value of the wrong kind, or sizes that do not fit each other.
        CheckpointError: a tensor is missing, weights and files disagree, a feature is not supported, or neither
            weights, files, variant nor overrides tell something.
    """
    given = check_overrides(overrides or {})
    tensors = Shapes(shapes)
    found = language_model_type(shapes)
    if found != variant.config.llm.model_type:
        raise CheckpointError(
            f"the language model is {found}, that of {variant.name} is {variant.config.llm.model_type}"
        )
    decoder = _mask_decoder(tensors, variant, inits, given)
    config = ModelConfig(
        llm=infer_llm(tensors, variant, inits, given),
        vision_encoder=_vision_encoder(tensors, variant, inits, given),
        mask_encoder=_mask_encoder(tensors, variant, inits, given, decoder.num_levels),
        connector=_connector(tensors, decoder),
        mask_decoder=decoder,
    )
    check_config(config)
    return config


def random_config(variant: Variant, overrides: Mapping[str, Any] | None = None) -> ModelConfig:
    """Give a variant's full-size configuration, for random weights.

    ``overrides`` replace fields by dotted name, such as ``{"llm.num_layers": 2}``. A mask encoder of another depth gets
    its taps and global layers at the quarter points, as in the released model, and one of another width its feature
    channels. Raises InputError for unknown names, and for sizes that do not fit each other.
    """
    config = variant.config
    changes: dict[str, dict[str, Any]] = {}
    for key, value in (overrides or {}).items():
        part, _, field = key.partition(".")
        sizes = getattr(config, part) if part in {item.name for item in fields(config)} else None
        if sizes is None or field not in {item.name for item in fields(sizes)}:
            raise InputError(
                f"unknown size {key!r}; expected part.field, such as llm.num_layers or mask_encoder.image_size"
            )
        changes.setdefault(part, {})[field] = tuple(value) if isinstance(value, list) else value
    depth = changes.get("mask_encoder", {}).get("num_layers")
    if type(depth) is int and depth > 0:
        globals_ = tuple(sorted({max(state - 1, 0) for state in default_taps(depth, 4)}))
        changes["mask_encoder"] = {
            "taps": default_taps(depth, config.mask_decoder.num_levels),
            "global_attention_layers": globals_,
            **changes["mask_encoder"],
        }
    changed = replace(config, **{part: replace(getattr(config, part), **values) for part, values in changes.items()})
    if "feature_channels" not in changes.get("mask_decoder", {}):
        with suppress(TypeError, ZeroDivisionError):  # not numbers: check_config says so
            channels = feature_channels(changed.mask_encoder.hidden_size, changed.connector.scales)
            changed = replace(changed, mask_decoder=replace(changed.mask_decoder, feature_channels=channels))
    check_config(changed)
    return changed


def _vision_encoder(
    tensors: Shapes, variant: Variant, inits: Path | None, given: Mapping[str, Any]
) -> VisionEncoderConfig:
    stem, registered = "vision_encoder.vision_model", variant.config.vision_encoder
    hidden, channels, patch, _ = tensors.shape(f"{stem}.embeddings.patch_embedding.weight", 4)
    grid = square(tensors.shape(f"{stem}.embeddings.position_embedding.weight", 2)[0], "vision encoder positions")
    present = tensors.layers(f"{stem}.encoder.layers")
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": tensors.shape(f"{stem}.encoder.layers.0.mlp.fc1.weight", 2)[0],
        "patch_size": patch,
        "num_channels": channels,
    }
    folder = None if inits is None else find_part(inits, "vision_encoder", variant.hub.vision_encoder)
    if folder is not None:
        told, source = vision_section(folder), str(folder / "config.json")
    else:
        told, source = {}, f"variant {variant.name}"
        if hidden == registered.hidden_size:
            told = {"num_attention_heads": registered.num_heads, "num_hidden_layers": registered.num_layers}
            if registered.image_size // patch == grid:
                told["image_size"] = registered.image_size
    select = given.get("visual_select_layer", registered.select_layer)
    layers = _depth(present, told, lambda depth: [hidden_state(select, depth, "visual_select_layer")])
    if folder is not None:
        agree("vision encoder", sizes | {"num_hidden_layers": layers}, told, source)
    heads = given.get("vision_num_attention_heads", told.get("num_attention_heads"))
    if heads is None:
        raise CheckpointError(
            f"the vision encoder has hidden size {hidden} and weights do not tell its heads: give the model's inits or "
            "set vision_num_attention_heads with --config"
        )
    divide(hidden, heads, "vision encoder's hidden size by heads")
    # Patches that do not fit are cut off (384 = 27 x 14 + 6), so that the grid alone gives only a lower bound.
    image = told.get("image_size") or grid * patch
    if image // patch != grid:
        raise CheckpointError(
            f"vision encoder: {grid} x {grid} positions in the weights, {image} px by patches of {patch} in {source}"
        )
    return VisionEncoderConfig(
        **sizes,
        num_layers=layers,
        num_heads=heads,
        image_size=image,
        layer_norm_eps=float(told.get("layer_norm_eps", registered.layer_norm_eps)),
        hidden_act=told.get("hidden_act", registered.hidden_act),
        select_layer=select,
    )


def _mask_encoder(
    tensors: Shapes, variant: Variant, inits: Path | None, given: Mapping[str, Any], levels: int
) -> MaskEncoderConfig:
    stem, registered = "segmentor.encoder", variant.config.mask_encoder
    hidden, channels, patch, _ = tensors.shape(f"{stem}.patch_embed.projection.weight", 4)
    _, height, width, _ = tensors.shape(f"{stem}.pos_embed", 4)
    if height != width:
        raise CheckpointError(f"{stem}.pos_embed is {height} x {width}; only square images are supported")
    present = tensors.layers(f"{stem}.layers")
    folder = None if inits is None else find_part(inits, "mask_encoder", variant.hub.mask_encoder)
    told = {} if folder is None else vision_section(folder)
    select, chosen = given.get("visual_select_layer", registered.select_layer), given.get("extra_select_layers")

    def states(depth: int) -> list[int]:
        return [hidden_state(select, depth, "visual_select_layer"), *choose_taps(chosen, depth, levels)]

    layers = _depth(present, told, states)
    window, global_layers = _windows(tensors, present, height, told)
    head_dim = tensors.shape(f"{stem}.layers.0.attn.rel_pos_h", 2)[1]
    sizes = {
        "hidden_size": hidden,
        "mlp_dim": tensors.shape(f"{stem}.layers.0.mlp.lin1.weight", 2)[0],
        "image_size": height * patch,
        "patch_size": patch,
        "num_channels": channels,
        "window_size": window,
    }
    heads = divide(hidden, head_dim, "mask encoder's hidden size by head size")
    if folder is not None:
        found = sizes | {"num_hidden_layers": layers, "num_attention_heads": heads}
        told = dict(told, global_attn_indexes=[i for i in told.get("global_attn_indexes") or () if i < present] or None)
        agree("mask encoder", found | {"global_attn_indexes": list(global_layers)}, told, str(folder / "config.json"))
    return MaskEncoderConfig(
        **sizes,
        num_layers=layers,
        num_heads=heads,
        global_attention_layers=global_layers,
        taps=choose_taps(chosen, layers, levels),
        layer_norm_eps=float(told.get("layer_norm_eps", registered.layer_norm_eps)),
        hidden_act=told.get("hidden_act", registered.hidden_act),
        select_layer=select,
    )


def _depth(present: int, told: Mapping[str, Any], states: Callable[[int], list[int]]) -> int:
    """Layers of an encoder: those present, or those told where the checkpoint only leaves out layers without use."""
    depth = told.get("num_hidden_layers")
    if depth is not None and present < depth and max(states(depth)) <= present:
        return int(depth)
    states(present)  # raises when a chosen state does not exist
    return present


def _windows(tensors: Shapes, layers: int, grid: int, told: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Window size and global layers: a table of relative positions has 2 * size - 1 rows (SamVisionAttention)."""
    rows = [tensors.shape(f"segmentor.encoder.layers.{layer}.attn.rel_pos_h", 2)[0] for layer in range(layers)]
    sizes = [divide(length + 1, 2, "relative positions of the mask encoder") for length in rows]
    if len(set(sizes)) > 2:
        raise CheckpointError(
            f"the mask encoder's layers have {len(set(sizes))} window sizes {sorted(set(sizes))}; expected one"
        )
    if len(set(sizes)) == 2:
        # The wider table is that of the global layers, even where an encoder was enlarged and it is interpolated.
        return min(sizes), tuple(layer for layer, size in enumerate(sizes) if size == max(sizes))
    if sizes[0] != grid:
        return sizes[0], ()
    # A window as large as the grid is the same as global attention; only a file can tell which was meant.
    return told.get("window_size") or grid, tuple(told.get("global_attn_indexes") or range(layers))


def _mask_decoder(tensors: Shapes, variant: Variant, inits: Path | None, given: Mapping[str, Any]) -> MaskDecoderConfig:
    pixel, decoder = "segmentor.pixel_decoder", "segmentor.decoder"
    folder = None if inits is None else find_part(inits, "mask_decoder", variant.hub.mask_decoder)
    told = {} if folder is None else read_json(folder / "config.json")
    for key, value in {"pre_norm": False, "enforce_input_projection": False, "activation_function": "relu"}.items():
        if told.get(key, value) != value:
            raise CheckpointError(f"{folder}/config.json has {key} {told[key]}: not supported, expected {value}")
    levels = tensors.shape(f"{decoder}.level_embed.weight", 2)[0]
    queries, hidden = tensors.shape(f"{decoder}.queries_features.weight", 2)
    points = given.get("decoder_num_points", variant.config.mask_decoder.num_points)
    # Rows of attention_weights: heads * levels * points (Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention).
    weights = tensors.shape(f"{pixel}.encoder.layers.0.self_attn.attention_weights.weight", 2)[0]
    sizes = {
        "hidden_dim": hidden,
        "feature_size": tensors.shape(f"{pixel}.adapter_1.0.weight", 4)[0],
        "mask_feature_size": tensors.shape(f"{pixel}.mask_projection.weight", 4)[0],
        "encoder_feedforward_dim": tensors.shape(f"{pixel}.encoder.layers.0.fc1.weight", 2)[0],
        "encoder_layers": tensors.layers(f"{pixel}.encoder.layers"),
        "num_queries": queries,
    }
    feedforward = tensors.shape(f"{decoder}.decoder.layers.0.fc1.weight", 2)[0]
    computed = tensors.layers(f"{decoder}.decoder.layers")
    heads = divide(weights, levels * points, "rows of the pixel decoder's attention_weights by levels x points")
    if folder is not None:
        # decoder_layers of the file counts the prediction before the first layer too.
        found = {"dim_feedforward": feedforward, "decoder_layers": computed + 1, "num_attention_heads": heads}
        agree("mask decoder", sizes | found, told, str(folder / "config.json"))
    projections = tensors.layers(f"{pixel}.input_projections")
    channels = [tensors.shape(f"{pixel}.input_projections.{level}.0.weight", 4)[1] for level in range(projections)]
    if projections != levels:
        raise CheckpointError(f"the pixel decoder has {projections} input projections for {levels} levels")
    return MaskDecoderConfig(
        **sizes,
        feedforward_dim=feedforward,
        num_heads=heads,
        decoder_layers=computed,
        num_levels=levels,
        num_points=points,
        feature_channels=tuple(reversed(channels)),
        logit_clamp=float(given.get("logit_clamp", variant.config.mask_decoder.logit_clamp)),
    )


def _connector(tensors: Shapes, decoder: MaskDecoderConfig) -> ConnectorConfig:
    count = tensors.layers("seg_connector.model")
    if count != decoder.num_levels:
        raise CheckpointError(f"seg_connector has {count} stacks for the pixel decoder's {decoder.num_levels} levels")
    hidden, scales = set(), []
    for index in range(count):
        first = tensors.shape(f"seg_connector.model.{index}.model.0.weight", 4)
        last = tensors.shape(f"seg_connector.model.{index}.model.4.weight", 4)
        hidden.add(first[0])
        # Channels: times the scale in the last convolution (ConvConnectorLayer), over its square in pixel shuffle.
        scale = last[0] / first[1]
        if first[1] != scale * decoder.feature_channels[index]:
            raise CheckpointError(
                f"seg_connector.model.{index} turns {first[1]} channels into {last[0]}, which do not shuffle into the "
                f"{decoder.feature_channels[index]} that the pixel decoder takes"
            )
        scales.append(int(scale) if scale.is_integer() else scale)
    if len(hidden) > 1:
        raise CheckpointError(f"seg_connector has stacks of {sorted(hidden)} channels; expected one size")
    return ConnectorConfig(hidden_channels=hidden.pop(), scales=tuple(scales))
