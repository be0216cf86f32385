"""Work out the sizes of the mask decoder, its pixel decoder and the connector before it."""

from __future__ import annotations

from typing import Any

from xsam_edge.export.config.inits import read_json
from xsam_edge.export.config.sizes import ConnectorConfig, MaskDecoderConfig
from xsam_edge.export.config.tensor_shapes import Shapes, agree, divide
from xsam_edge.export.infer.evidence import Evidence
from xsam_edge.runtime.errors import CheckpointError

_PIXEL_DECODER, _DECODER = "segmentor.pixel_decoder", "segmentor.decoder"
_SUPPORTED = {"pre_norm": False, "enforce_input_projection": False, "activation_function": "relu"}
_UNSHOWN = ("num_points", "logit_clamp")


def mask_decoder(evidence: Evidence) -> MaskDecoderConfig:
    """Work them out. Raises as ``config_from_checkpoint``."""
    tensors, folder = evidence.tensors, evidence.folder("mask_decoder")
    file = {} if folder is None else read_json(folder / "config.json")
    for key, value in _SUPPORTED.items():
        if file.get(key, value) != value:
            raise CheckpointError(f"{folder}/config.json has {key} {file[key]}: not supported, expected {value}")
    levels = tensors.shape(f"{_DECODER}.level_embed.weight", 2)[0]
    heads, points = _heads_and_points(evidence, levels)
    queries, hidden = tensors.shape(f"{_DECODER}.queries_features.weight", 2)
    config = MaskDecoderConfig(
        hidden_dim=hidden,
        feature_size=tensors.shape(f"{_PIXEL_DECODER}.adapter_1.0.weight", 4)[0],
        mask_feature_size=tensors.shape(f"{_PIXEL_DECODER}.mask_projection.weight", 4)[0],
        encoder_feedforward_dim=tensors.shape(f"{_PIXEL_DECODER}.encoder.layers.0.fc1.weight", 2)[0],
        feedforward_dim=tensors.shape(f"{_DECODER}.decoder.layers.0.fc1.weight", 2)[0],
        num_heads=heads,
        encoder_layers=tensors.layers(f"{_PIXEL_DECODER}.encoder.layers"),
        decoder_layers=tensors.layers(f"{_DECODER}.decoder.layers"),
        num_queries=queries,
        num_levels=levels,
        num_points=points,
        feature_channels=_feature_channels(tensors, levels),
        logit_clamp=evidence.variant.config.mask_decoder.logit_clamp,
    )
    agree("mask decoder", _file_terms(config), file, f"{folder}/config.json")
    return evidence.settle("mask_decoder", config, [name for name in vars(config) if name not in _UNSHOWN])


def _heads_and_points(evidence: Evidence, levels: int) -> tuple[int, int]:
    """Weights show their product alone: attention_weights has heads * levels * points rows.

    See Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention.
    """
    chosen = evidence.chosen("mask_decoder")
    rows = evidence.tensors.shape(f"{_PIXEL_DECODER}.encoder.layers.0.self_attn.attention_weights.weight", 2)[0]
    what = "rows of the pixel decoder's attention_weights by levels x "
    if "num_heads" in chosen and "num_points" not in chosen:
        return chosen["num_heads"], divide(rows, levels * chosen["num_heads"], what + "heads")
    points = chosen.get("num_points", evidence.variant.config.mask_decoder.num_points)
    return divide(rows, levels * points, what + "points"), points


def _feature_channels(tensors: Shapes, levels: int) -> tuple[int, ...]:
    projections = tensors.layers(f"{_PIXEL_DECODER}.input_projections")
    if projections != levels:
        raise CheckpointError(f"the pixel decoder has {projections} input projections for {levels} levels")
    coarse_first = (
        tensors.shape(f"{_PIXEL_DECODER}.input_projections.{level}.0.weight", 4)[1] for level in range(levels)
    )
    return tuple(coarse_first)[::-1]


def _file_terms(config: MaskDecoderConfig) -> dict[str, Any]:
    return {
        "hidden_dim": config.hidden_dim,
        "feature_size": config.feature_size,
        "mask_feature_size": config.mask_feature_size,
        "encoder_feedforward_dim": config.encoder_feedforward_dim,
        "encoder_layers": config.encoder_layers,
        "num_queries": config.num_queries,
        "dim_feedforward": config.feedforward_dim,
        "decoder_layers": config.decoder_layers + 1,  # counts the prediction before the first layer too
        "num_attention_heads": config.num_heads,
    }


def connector(evidence: Evidence, decoder: MaskDecoderConfig) -> ConnectorConfig:
    """Work them out. Raises as ``config_from_checkpoint``."""
    tensors = evidence.tensors
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
    config = ConnectorConfig(hidden_channels=hidden.pop(), scales=tuple(scales))
    return evidence.settle("connector", config, vars(config))
