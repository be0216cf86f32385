"""SigLIP vision tower up to the hidden state that feeds ``visual_projector`` (arXiv 2502.14786).

The layers past the selected state, the final norm and the pooling head of a checkpoint take no part in X-SAM: the
module does not create them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xsam_edge.export.config.sizes import VisionEncoderConfig
from xsam_edge.export.models.activation_functions import activation
from xsam_edge.runtime.errors import CheckpointError


class VisionEmbeddings(nn.Module):
    """Patches of the image as tokens, plus a learned position each."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        patches = (config.image_size // config.patch_size) ** 2
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.position_embedding = nn.Embedding(patches, config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, patches, hidden_size]."""
        patches: Tensor = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        return patches + self.position_embedding.weight


class VisionAttention(nn.Module):
    """Multi-head self-attention over all patches."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.hidden_size // config.num_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.num_heads, self.head_dim))
        return heads.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, hidden_size] to the same shape."""
        query = self._heads(self.q_proj(x) * self.head_dim**-0.5)
        key = self._heads(self.k_proj(x))
        value = self._heads(self.v_proj(x))
        probabilities = torch.softmax(query @ key.transpose(-1, -2), dim=-1)
        x = self.out_proj((probabilities @ value).transpose(1, 2).flatten(2))
        return x


class VisionMLP(nn.Module):
    """Linear, activation, Linear."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        self.activation = activation(config.hidden_act)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] to the same shape."""
        x = self.fc2(self.activation(self.fc1(x)))
        return x


class VisionLayer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VisionMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, hidden_size] to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        x = x + self.mlp(self.layer_norm2(x))
        return x


class VisionStack(nn.Module):
    """The layers that are computed.

    Raises:
        CheckpointError: at construction, where the state after the last layer is selected: the official code takes it
            after the final norm, which X-SAM does not load.
    """

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        depth = config.select_layer % (config.num_layers + 1)
        if depth == config.num_layers:
            raise CheckpointError(
                f"hidden state {config.select_layer} of {config.num_layers} layers is the normed output; "
                "expected an earlier one: set select_layer to -2 or less"
            )
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, hidden_size] to the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class VisionModel(nn.Module):
    """Embeddings and layers; exists for the parameter names of the checkpoint."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.encoder = VisionStack(config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, patches, hidden_size]."""
        hidden: Tensor = self.encoder(self.embeddings(pixel_values))
        return hidden


class VisionEncoder(nn.Module):
    """SigLIP: normalised pixels to the hidden state ``config.select_layer``."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        self.vision_model = VisionModel(config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, patches, hidden_size], patches in row-major order."""
        hidden: Tensor = self.vision_model(pixel_values)
        return hidden
