from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from xsam_edge.export.models.mask_encoder import (
    MaskEncoder,
    merge_windows,
    partition_windows,
    positions_as_channels,
    relative_positions,
    summed_positions,
)


def test_every_state_matches_the_record(phi3_in_dialect):
    images = phi3_in_dialect.tensors("image_features")
    encoder = phi3_in_dialect.model.segmentor.encoder
    for index, state in enumerate(encoder.hidden_states(images["extra_pixel_values"])):
        torch.testing.assert_close(state, images[f"sam.hidden.{index}"], atol=1e-5, rtol=0)


def test_forward_picks_taps_and_selected_state(phi3):
    images = phi3.tensors("image_features")
    taps, selected = phi3.model.segmentor.encoder(images["extra_pixel_values"])
    assert len(taps) == 3
    for tap, index in zip(taps, phi3.config.mask_encoder.taps, strict=True):
        torch.testing.assert_close(tap, images[f"sam.hidden.{index}"], atol=1e-5, rtol=0)
    torch.testing.assert_close(selected, images["sam.hidden.3"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("taps", "select", "depth"), [((0, 1), 1, 1), ((1, 2), -2, 3), ((1, -1), 0, 4)])
def test_layers_deeper_than_needed_do_not_exist(phi3, taps, select, depth):
    config = replace(phi3.config.mask_encoder, taps=taps, select_layer=select)
    assert len(MaskEncoder(config).layers) == depth


def test_relative_positions_index_the_table():
    table = torch.randn(9, 3)
    positions = relative_positions(table, 5)
    for query in range(5):
        for key in range(5):
            assert torch.equal(positions[query, key], table[query - key + 4])


def test_relative_positions_of_another_length_are_resampled():
    table = torch.randn(7, 3)
    resampled = F.interpolate(table.T[None], size=9, mode="linear")[0].T
    assert torch.equal(relative_positions(table, 5), relative_positions(resampled, 5))


@pytest.mark.parametrize(("height", "width"), [(3, 5), (4, 8)])
def test_positions_are_summed_or_channels_with_equal_results(height, width):
    query, key, value = torch.randn(3, 2, 6, height * width, 4)
    rows, columns = torch.randn(2, 6, height * width, height), torch.randn(2, 6, height * width, width)
    scores = (query @ key.transpose(2, 3)).reshape(2, 6, -1, height, width)
    probabilities = (scores + rows[..., None] + columns[..., None, :]).flatten(3).softmax(-1)
    for attend in (summed_positions, positions_as_channels):
        mixed = attend(query, key, value, rows, columns)
        torch.testing.assert_close(mixed, probabilities @ value, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width", "window"), [(8, 8, 3), (6, 9, 3), (5, 7, 4)])
def test_windows_round_trip(height, width, window):
    x = torch.randn(2, height, width, 4)
    windows = partition_windows(x, window)
    assert windows.shape[0] == 2 * -(-height // window) * -(-width // window)
    assert torch.equal(windows[0, : min(window, height), : min(window, width)], x[0, :window, :window])
    assert torch.equal(merge_windows(windows, height, width), x)


def test_padded_cells_take_part_in_attention(phi3):
    """A padded cell is a zero key, not a hidden one: its share of attention lowers the others'."""
    layer = phi3.model.segmentor.encoder.layers[0]
    assert layer.window == 3
    x = torch.randn(1, 4, 4, phi3.config.mask_encoder.hidden_size)
    corner = F.pad(layer.layer_norm1(x)[:, 3:, 3:], (0, 0, 0, 2, 0, 2))
    attended = x[:, 3:, 3:] + layer.attn(corner)[:, :1, :1]
    expected = attended + layer.mlp(layer.layer_norm2(attended))
    torch.testing.assert_close(layer(x)[:, 3:, 3:], expected, atol=1e-5, rtol=0)
