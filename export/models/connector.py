"""Connector: hidden states of the mask encoder to the feature pyramid of the pixel decoder (``ConvConnectorLayer``)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from xsam_edge.export.config.sizes import ConnectorConfig
from xsam_edge.export.models.projectors import pad_to_even, pixel_shuffle

LAYER_NORM_EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        # Moving channels last keeps this a single normalisation node, which precision rules can name.
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConnectorStack(nn.Module):
    """Convolutions 1x1, 3x3, 1x1 with a norm after each and no activation, then a pixel shuffle."""

    def __init__(self, in_channels: int, hidden_channels: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        out_channels = int(in_channels * scale)
        self.model = nn.Sequential(
            nn.Conv2d(in_channels, hidden_channels, kernel_size=1, bias=False),
            ChannelNorm(hidden_channels, eps=LAYER_NORM_EPS),
            nn.Conv2d(hidden_channels, hidden_channels, kernel_size=3, padding=1, bias=False),
            ChannelNorm(hidden_channels, eps=LAYER_NORM_EPS),
            nn.Conv2d(hidden_channels, out_channels, kernel_size=1, bias=False),
            ChannelNorm(out_channels, eps=LAYER_NORM_EPS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, in_channels] to [B, in_channels / scale, H * scale, W * scale]; an odd side is padded by one."""
        x = self.model(pad_to_even(x).permute(0, 3, 1, 2))
        if self.scale == 1:
            return x
        return pixel_shuffle(x.permute(0, 2, 3, 1), self.scale).permute(0, 3, 1, 2)


class Connector(nn.Module):
    """One ``ConnectorStack`` per tap."""

    def __init__(self, config: ConnectorConfig, in_channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleList(
            ConnectorStack(in_channels, config.hidden_channels, scale) for scale in config.scales
        )

    def forward(self, states: list[Tensor]) -> list[Tensor]:
        """Maps [B, H, W, C], one per scale, to [B, C / scale, H * scale, W * scale] in the same order."""
        return [stack(state) for stack, state in zip(self.model, states, strict=True)]
