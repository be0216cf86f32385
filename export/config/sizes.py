"""Sizes and constants of every part of an X-SAM model, as frozen dataclasses with the meaning of every field.

A configuration is made from a checkpoint's tensors and the Hugging Face style files of its four parts
(``config_from_checkpoint``) or from a registered variant; the torch modules in ``models/`` are built from it. Its
fields are also what ``--config`` may set, as ``part.field`` (``schema``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

NORM_GROUPS = 32  # of every group norm in the pixel decoder
ACTIVATIONS = ("gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "silu", "swish")  # of both encoders, by their names


@dataclass(frozen=True)
class VisionEncoderConfig:
    """SigLIP vision tower. Hidden states count from 0, the embeddings, or from the end with -1."""

    hidden_size: Annotated[int, "channels of a patch"]
    intermediate_size: Annotated[int, "channels inside of a feed-forward module"]
    num_layers: Annotated[int, "layers of the checkpoint, those that are not computed too"]
    num_heads: Annotated[int, "attention heads"]
    image_size: Annotated[int, "edge of the square image in pixels"]
    patch_size: Annotated[int, "edge of a patch in pixels"]
    layer_norm_eps: Annotated[float, "epsilon of the norms"] = 1e-6
    hidden_act: Annotated[str, "activation function"] = "gelu_pytorch_tanh"
    num_channels: Annotated[int, "channels of the image"] = 3
    select_layer: Annotated[int, "hidden state that feeds visual_projector"] = -2


@dataclass(frozen=True)
class MaskEncoderConfig:
    """SAM ViT. Hidden states count as those of the vision encoder."""

    hidden_size: Annotated[int, "channels of a patch"]
    mlp_dim: Annotated[int, "channels inside of a feed-forward module"]
    num_layers: Annotated[int, "layers of the checkpoint, those that are not computed too"]
    num_heads: Annotated[int, "attention heads"]
    image_size: Annotated[int, "edge of the square image in pixels"]
    patch_size: Annotated[int, "edge of a patch in pixels"]
    window_size: Annotated[int, "edge of an attention window in patches"]
    global_attention_layers: Annotated[tuple[int, ...], "layers, from 0, that attend to the whole image"]
    taps: Annotated[tuple[int, ...], "hidden states that feed seg_connector, one a level, high resolution first"]
    layer_norm_eps: Annotated[float, "epsilon of the norms"] = 1e-6
    hidden_act: Annotated[str, "activation function"] = "gelu"
    num_channels: Annotated[int, "channels of the image"] = 3
    select_layer: Annotated[int, "hidden state that feeds seg_projector"] = -2

    @property
    def grid(self) -> int:
        """Patches along one edge."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class ConnectorConfig:
    """One convolution stack per tap."""

    hidden_channels: Annotated[int, "channels inside of a stack"]
    scales: Annotated[tuple[float, ...], "pixel-shuffle factor of each tap; 2 doubles the resolution"] = (2, 1, 0.5)


@dataclass(frozen=True)
class MaskDecoderConfig:
    """Mask2Former pixel decoder and transformer decoder."""

    hidden_dim: Annotated[int, "channels of the transformer decoder and of condition embeddings"]
    feature_size: Annotated[int, "channels of the pixel decoder"]
    mask_feature_size: Annotated[int, "channels of mask features"]
    encoder_feedforward_dim: Annotated[int, "channels inside of the pixel decoder's feed-forward modules"]
    feedforward_dim: Annotated[int, "channels inside of the transformer decoder's feed-forward modules"]
    num_heads: Annotated[int, "attention heads of both decoders"]
    encoder_layers: Annotated[int, "layers of the pixel decoder"]
    decoder_layers: Annotated[int, "layers of the transformer decoder that are computed (9 in the released model)"]
    num_queries: Annotated[int, "masks that are predicted"]
    num_levels: Annotated[int, "levels of the feature pyramid"]
    num_points: Annotated[int, "samples of a head on a level in the pixel decoder's attention"]
    feature_channels: Annotated[tuple[int, ...], "channels of the connector's maps, high resolution first"]
    logit_clamp: Annotated[float, "class logits are clamped to plus and minus this"]


@dataclass(frozen=True)
class LLMConfig:
    """A decoder-only language model."""

    model_type: Annotated[str, "the file in export/models that implements it"]
    hidden_size: Annotated[int, "channels of a token"]
    intermediate_size: Annotated[int, "channels inside of a feed-forward module"]
    num_layers: Annotated[int, "layers"]
    num_heads: Annotated[int, "heads of queries"]
    num_kv_heads: Annotated[int, "heads of keys and values"]
    head_dim: Annotated[int, "channels of a head"]
    vocab_size: Annotated[int, "rows of the embedding table in the checkpoint"]
    rms_norm_eps: Annotated[float, "epsilon of the norms"]
    rope_theta: Annotated[float, "base of the rotary positions"]
    sliding_window: Annotated[int | None, "a query sees keys with kv > q - window; null sees all"]
    tie_word_embeddings: Annotated[bool, "whether the embedding table is the head too"]
    context_length: Annotated[int, "most tokens of prompt and answer together"]


@dataclass(frozen=True)
class ModelConfig:
    """A whole X-SAM model."""

    llm: LLMConfig
    vision_encoder: VisionEncoderConfig
    mask_encoder: MaskEncoderConfig
    connector: ConnectorConfig
    mask_decoder: MaskDecoderConfig

    @property
    def vision_tokens(self) -> int:
        """Image tokens from the vision encoder."""
        return (self.vision_encoder.image_size // self.vision_encoder.patch_size) ** 2

    @property
    def mask_tokens(self) -> int:
        """Image tokens from the mask encoder (its grid halved by pixel shuffle, odd grids padded)."""
        return ((self.mask_encoder.grid + 1) // 2) ** 2


def level_sizes(config: ModelConfig) -> list[tuple[int, int]]:
    """Grid (height, width) of each level of the pixel decoder, low resolution first."""
    side = config.mask_encoder.grid
    side += side % 2  # the connector pads odd grids at every scale
    sizes = [(int(side * scale), int(side * scale)) for scale in config.connector.scales]
    return sizes[::-1]
