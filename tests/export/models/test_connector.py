import pytest
import torch

from xsam_edge.export.models.connector import ChannelNorm, ConnectorStack


def test_maps_match_the_record(phi3):
    images = phi3.tensors("image_features")
    maps = phi3.model.seg_connector([images[f"sam.hidden.{tap}"] for tap in phi3.config.mask_encoder.taps])
    for index, feature_map in enumerate(maps):
        torch.testing.assert_close(feature_map, images[f"seg_connector.{index}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("scale", "shape"), [(2, (1, 4, 8, 8)), (1, (1, 8, 4, 4)), (0.5, (1, 16, 2, 2))])
def test_odd_maps_are_padded(scale, shape):
    assert ConnectorStack(8, 6, scale)(torch.randn(1, 3, 3, 8)).shape == shape


def test_channel_norm_is_over_channels():
    out = ChannelNorm(16)(torch.randn(2, 16, 3, 5) * 7 + 3)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 3, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, correction=0), torch.ones(2, 3, 5), atol=1e-3, rtol=0)


def test_states_and_scales_must_pair(phi3):
    with pytest.raises(ValueError, match="zip"):
        phi3.model.seg_connector([torch.zeros(1, 8, 8, phi3.config.mask_encoder.hidden_size)])
