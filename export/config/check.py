"""Check that the sizes of a model fit each other, before a module is built from them.

What a user sets with ``--config``, and what a checkpoint of unusual sizes shows, ends here in one line and not deep
inside of a traced module.
"""

from __future__ import annotations

from xsam_edge.export.config.hidden_states import hidden_state, tapped_states
from xsam_edge.export.config.schema import SIZES
from xsam_edge.export.config.sizes import ACTIVATIONS, NORM_GROUPS, ModelConfig
from xsam_edge.export.config.variants import language_model_types
from xsam_edge.runtime.errors import InputError

_SCALES = (0.5, 1, 2)  # that pixel_shuffle knows


def check_config(config: ModelConfig) -> None:
    """Check the type and range of every field, and what must divide or equal what.

    Raises:
        InputError: names the first field that does not fit and says what was expected.
    """
    for name, size in SIZES.items():
        part, _, field = name.partition(".")
        size.read(getattr(getattr(config, part), field))
    _check_llm(config)
    _check_encoders(config)
    _check_segmentation(config)


def feature_channels(hidden_size: int, scales: tuple[float, ...]) -> tuple[int, ...]:
    """Channels of the connector's maps: a shuffle by s turns ``s * C`` channels into ``C / s``."""
    return tuple(int(hidden_size / scale) for scale in scales)


def _multiple(name: str, value: int, of: int, what: str) -> None:
    if value % of:
        raise InputError(f"{name} is {value}; expected a multiple of {of}, {what}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(known)}")


def _check_llm(config: ModelConfig) -> None:
    llm = config.llm
    _one_of("llm.model_type", llm.model_type, language_model_types())
    _multiple("llm.num_heads", llm.num_heads, llm.num_kv_heads, "llm.num_kv_heads")
    _multiple("llm.head_dim", llm.head_dim, 2, "which rotary positions turn in pairs")


def _check_encoders(config: ModelConfig) -> None:
    vision, mask = config.vision_encoder, config.mask_encoder
    for name, part in (("vision_encoder", vision), ("mask_encoder", mask)):
        _multiple(f"{name}.hidden_size", part.hidden_size, part.num_heads, f"{name}.num_heads")
        if part.image_size < part.patch_size:
            raise InputError(f"{name}.image_size is {part.image_size}; expected at least a patch of {part.patch_size}")
        hidden_state(part.select_layer, part.num_layers, f"{name}.select_layer")
        _one_of(f"{name}.hidden_act", part.hidden_act, ACTIVATIONS)
    tapped_states(mask.taps, mask.num_layers)
    if any(not 0 <= layer < mask.num_layers for layer in mask.global_attention_layers):
        raise InputError(
            f"mask_encoder.global_attention_layers is {list(mask.global_attention_layers)}; "
            f"expected layers of 0 to {mask.num_layers - 1}"
        )


def _check_segmentation(config: ModelConfig) -> None:
    mask, decoder, scales = config.mask_encoder, config.mask_decoder, config.connector.scales
    if any(scale not in _SCALES for scale in scales):
        raise InputError(f"connector.scales is {list(scales)}; expected values of 0.5, 1 and 2")
    for name, count in (("mask_encoder.taps", len(mask.taps)), ("connector.scales", len(scales))):
        if count != decoder.num_levels:
            raise InputError(f"{name} has {count} values; expected one for each of {decoder.num_levels} levels")
    _multiple("mask_encoder.hidden_size", mask.hidden_size, 2, "which pixel shuffle splits")
    if (expected := feature_channels(mask.hidden_size, scales)) != decoder.feature_channels:
        raise InputError(
            f"mask_decoder.feature_channels is {list(decoder.feature_channels)}; expected {list(expected)} "
            "for the mask encoder's width and the connector's scales"
        )
    if decoder.feature_size != decoder.hidden_dim:
        # The official code then adds projections that it does not save.
        raise InputError(
            f"mask_decoder.feature_size is {decoder.feature_size}; expected {decoder.hidden_dim}, that of hidden_dim"
        )
    _multiple("mask_decoder.hidden_dim", decoder.hidden_dim, decoder.num_heads, "mask_decoder.num_heads")
    _multiple("mask_decoder.hidden_dim", decoder.hidden_dim, NORM_GROUPS, "the groups of its norms")
