from dataclasses import replace

import pytest
import torch

from xsam_edge.export.models.vision_encoder import VisionEncoder
from xsam_edge.runtime.errors import CheckpointError


def test_selected_state_matches_the_record(recorded):
    images = recorded.tensors("image_features")
    hidden = recorded.model.vision_encoder(images["pixel_values"])
    torch.testing.assert_close(hidden, images["siglip.hidden.2"], atol=1e-5, rtol=0)
    projected = recorded.model.visual_projector(hidden)
    torch.testing.assert_close(projected, images["visual_projector"], atol=1e-5, rtol=0)


def test_layers_past_the_selected_state_do_not_exist(phi3):
    config = phi3.config.vision_encoder
    assert len(VisionEncoder(config).vision_model.encoder.layers) == config.num_layers - 1
    assert len(VisionEncoder(replace(config, select_layer=1)).vision_model.encoder.layers) == 1


def test_every_recorded_state(phi3):
    images = phi3.tensors("image_features")
    for index in range(phi3.config.vision_encoder.num_layers):
        encoder = VisionEncoder(replace(phi3.config.vision_encoder, select_layer=index))
        prefix = "vision_encoder."
        state = {name[len(prefix) :]: value for name, value in phi3.state_dict.items() if name.startswith(prefix)}
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
        with torch.no_grad():
            hidden = encoder(images["pixel_values"])
        torch.testing.assert_close(hidden, images[f"siglip.hidden.{index}"], atol=1e-5, rtol=0)


def test_patches_that_do_not_fill_the_image_are_dropped(phi3):
    config = replace(phi3.config.vision_encoder, image_size=60)
    hidden = VisionEncoder(config)(torch.zeros(2, 3, 60, 60))
    assert hidden.shape == (2, (60 // config.patch_size) ** 2, config.hidden_size)


def test_the_normed_output_cannot_be_selected(phi3):
    with pytest.raises(CheckpointError, match="select_layer"):
        VisionEncoder(replace(phi3.config.vision_encoder, select_layer=-1))
