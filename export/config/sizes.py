"""Sizes and constants of every part of an X-SAM model, as frozen dataclasses.

A configuration is made from a checkpoint's tensors and the Hugging Face style files of its four parts
(``config_from_checkpoint``) or from a registered variant; the torch modules in ``models/`` are built from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VisionEncoderConfig:
    """SigLIP vision tower. ``num_layers`` counts all layers of the checkpoint; the last one is not computed."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    image_size: int
    patch_size: int
    layer_norm_eps: float = 1e-6
    hidden_act: str = "gelu_pytorch_tanh"
    num_channels: int = 3
    select_layer: int = -2  # which hidden state feeds the projector


@dataclass(frozen=True)
class MaskEncoderConfig:
    """SAM ViT. ``taps`` index the hidden states (0 = embeddings) that feed the connector, high resolution first."""

    hidden_size: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    image_size: int
    patch_size: int
    window_size: int
    global_attention_layers: tuple[int, ...]
    taps: tuple[int, ...]
    layer_norm_eps: float = 1e-6
    hidden_act: str = "gelu"
    num_channels: int = 3
    select_layer: int = -2  # which hidden state feeds seg_projector

    @property
    def grid(self) -> int:
        """Patches along one edge."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class ConnectorConfig:
    """One convolution stack per tap; ``scales`` are the pixel-shuffle factors (2 doubles the resolution)."""

    hidden_channels: int
    scales: tuple[float, ...] = (2, 1, 0.5)


@dataclass(frozen=True)
class MaskDecoderConfig:
    """Mask2Former pixel decoder and transformer decoder."""

    hidden_dim: int  # of the transformer decoder; also the size of condition embeddings
    feature_size: int  # of the pixel decoder
    mask_feature_size: int
    encoder_feedforward_dim: int
    feedforward_dim: int
    num_heads: int
    encoder_layers: int
    decoder_layers: int  # layers that are computed (9 in the released model)
    num_queries: int
    num_levels: int
    num_points: int
    feature_channels: tuple[int, ...]  # of the connector's maps, high resolution first
    logit_clamp: float  # class logits are clamped to +- this


@dataclass(frozen=True)
class LLMConfig:
    """A decoder-only language model; ``model_type`` names the file in ``models/`` that implements it."""

    model_type: str  # "phi3" or "qwen3"
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int  # rows of the embedding table in the checkpoint
    rms_norm_eps: float
    rope_theta: float
    sliding_window: int | None  # a query sees keys with kv > q - window
    tie_word_embeddings: bool
    context_length: int


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
