from dataclasses import replace

import pytest
import torch

from xsam_edge.export.models.pixel_decoder import PixelDecoder
from xsam_edge.export.models.random_weights import init_weights


@pytest.mark.parametrize(("form", "dialect"), [("gather", "cpu"), ("gather", "gpu"), ("grid_sample", "cpu")])
def test_features_match_the_record(phi3, form, dialect):
    images = phi3.tensors("image_features")
    decoder = PixelDecoder(phi3.config.mask_decoder, form, dialect)
    decoder.load_state_dict(phi3.model.segmentor.pixel_decoder.state_dict())
    with torch.no_grad():
        mask_features, multi_scale = decoder([images[f"seg_connector.{index}"] for index in range(3)])
    torch.testing.assert_close(mask_features, images["pixel_decoder.mask_features"], atol=2e-5, rtol=0)
    for index, level in enumerate(multi_scale):
        torch.testing.assert_close(level, images[f"pixel_decoder.multi_scale.{index}"], atol=2e-5, rtol=0)


def test_a_finer_map_than_the_levels_is_reached_by_resizing(phi3):
    config = replace(phi3.config.mask_decoder, feature_channels=(8, 16, 32, 64))
    decoder = init_weights(PixelDecoder(config), seed=0)
    features = [torch.randn(1, 8, 16, 12), torch.randn(1, 16, 8, 6), torch.randn(1, 32, 4, 3), torch.randn(1, 64, 2, 2)]
    with torch.no_grad():
        mask_features, multi_scale = decoder(features)
    assert mask_features.shape == (1, config.mask_feature_size, 16, 12)
    assert [tuple(level.shape[2:]) for level in multi_scale] == [(2, 2), (4, 3), (8, 6)]


def test_images_of_a_batch_do_not_mix(phi3):
    decoder = phi3.model.segmentor.pixel_decoder
    torch.manual_seed(0)
    features = [torch.randn(2, channels, 2**i, 2**i) for channels, i in ((16, 4), (32, 3), (64, 2))]
    together, _ = decoder(features)
    for index in range(2):
        alone, _ = decoder([level[index : index + 1] for level in features])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-4, rtol=0)
