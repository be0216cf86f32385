from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xsam_edge.export.models.mask_decoder import ClassPredictor, CrossAttention, MaskDecoder, masked_attention_bias
from xsam_edge.export.models.masking import MASKED_SCORE
from xsam_edge.export.models.position_encoding import sine_position_encoding

PREDICTIONS = 4


@pytest.fixture
def features(phi3):
    images = phi3.tensors("image_features")
    multi_scale = [images[f"pixel_decoder.multi_scale.{index}"] for index in range(3)]
    return images["pixel_decoder.mask_features"], multi_scale


def test_every_layer_matches_the_record(phi3, features):
    mask_features, multi_scale = features
    run = phi3.tensors("img_refseg")
    decoder = phi3.model.segmentor.decoder
    resized = decoder.prepare(mask_features, multi_scale)
    levels = decoder.keys_and_values(multi_scale)
    queries, masks = decoder(run["tensor/segmentor.in.seg_embeds"], mask_features, levels, resized, all_layers=True)
    assert len(queries) == len(masks) == PREDICTIONS
    for index in range(PREDICTIONS):
        expected = run[f"tensor/decoder.intermediate.{index}"].transpose(0, 1)
        torch.testing.assert_close(queries[index], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(masks[index], run[f"tensor/decoder.masks_lowres.{index}"], atol=2e-5, rtol=0)
        level_masks = decoder.decoder.mask_predictor(queries[index], resized[index % 3])
        recorded = run[f"tensor/decoder.attn_mask_raw.{index}"].bool()  # one copy per head
        assert torch.equal((level_masks < 0).expand(len(recorded), -1, -1), recorded)
    logits = phi3.model.segmentor.class_predictor(queries[-1], run["tensor/segmentor.in.cond_embeds"])
    torch.testing.assert_close(logits, run["tensor/class_queries_logits"], atol=2e-5, rtol=0)


def test_only_the_last_prediction_is_returned_by_default(phi3, features):
    mask_features, multi_scale = features
    decoder, seg_embed = phi3.model.segmentor.decoder, torch.zeros(1, 1, phi3.config.mask_decoder.hidden_dim)
    levels, resized = list(decoder.keys_and_values(multi_scale)), decoder.prepare(*features)
    queries, masks = decoder(seg_embed, mask_features, levels, resized)
    all_queries, all_masks = decoder(seg_embed, mask_features, levels, resized, all_layers=True)
    assert len(queries) == len(masks) == 1
    assert torch.equal(queries[0], all_queries[-1])
    assert torch.equal(masks[0], all_masks[-1])


def test_resizing_features_equals_resizing_masks(phi3, features):
    mask_features, multi_scale = features
    predictor = phi3.model.segmentor.decoder.decoder.mask_predictor
    queries = torch.randn(1, 5, phi3.config.mask_decoder.hidden_dim)
    full = predictor(queries, mask_features).unflatten(-1, mask_features.shape[2:])
    for level, resized in zip(multi_scale, MaskDecoder.prepare(mask_features, multi_scale), strict=True):
        expected = F.interpolate(full, size=level.shape[2:], mode="bilinear", align_corners=False).flatten(2)
        torch.testing.assert_close(predictor(queries, resized), expected, atol=1e-4, rtol=0)


def test_prepare_reuses_features_of_the_same_size(features):
    mask_features, multi_scale = features
    resized = MaskDecoder.prepare(mask_features, multi_scale)
    assert resized[2] is mask_features
    assert [tuple(x.shape[2:]) for x in resized] == [tuple(x.shape[2:]) for x in multi_scale]


def test_a_query_with_an_empty_mask_sees_everything():
    logits = torch.tensor([[[1.0, -1.0, 0.0], [-1.0, -2.0, -3.0]]])
    assert masked_attention_bias(logits).tolist() == [[[[0.0, MASKED_SCORE, 0.0], [0.0, 0.0, 0.0]]]]


@pytest.mark.parametrize("images", [1, 2])
def test_cross_attention_is_multihead_attention(images):
    torch.manual_seed(0)
    expected = nn.MultiheadAttention(16, 4, batch_first=True)
    nn.init.normal_(expected.in_proj_bias)
    attention = CrossAttention(16, 4)
    attention.load_state_dict(expected.state_dict())
    query, level, embedding = torch.randn(2, 3, 16), torch.randn(images, 16, 2, 4), torch.randn(16)
    hidden = torch.rand(2, 1, 3, 8) < 0.5
    hidden[..., 0] = False
    memory = level.expand(2, -1, -1, -1).flatten(2).transpose(1, 2) + embedding
    placed = memory + sine_position_encoding(2, 4, memory)
    out, _ = expected(query, placed, memory, attn_mask=hidden.expand(2, 4, 3, 8).flatten(0, 1))
    pair = attention.keys_and_values(level, embedding)
    torch.testing.assert_close(attention(query, *pair, hidden * MASKED_SCORE), out, atol=1e-6, rtol=0)


def test_images_of_a_batch_do_not_mix(phi3, features):
    decoder = phi3.model.segmentor.decoder
    torch.manual_seed(0)
    mask_features, multi_scale = [features[0], features[0].flip(2)], [features[1], [x.flip(2) for x in features[1]]]
    seg_embeds = torch.randn(2, 1, phi3.config.mask_decoder.hidden_dim)
    both = torch.cat(mask_features), [torch.cat(pair) for pair in zip(*multi_scale, strict=True)]

    def decode(embeds, features, levels):
        (queries,), _ = decoder(embeds, features, decoder.keys_and_values(levels), decoder.prepare(features, levels))
        return queries

    together = decode(seg_embeds, *both)
    for index in range(2):
        queries = decode(seg_embeds[index : index + 1], mask_features[index], multi_scale[index])
        torch.testing.assert_close(together[index : index + 1], queries, atol=1e-5, rtol=0)


@pytest.mark.parametrize("clamp", [50.0, 500.0])
def test_class_logits_are_scaled_cosines_within_the_clamp(phi3, clamp):
    predictor = ClassPredictor(replace(phi3.config.mask_decoder, logit_clamp=clamp))
    queries, conditions = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[6.0, 8.0], [-8.0, 6.0], [-0.1, 0.0]]])
    with torch.no_grad():
        assert predictor(queries, conditions).flatten().tolist() == pytest.approx([1 / 0.07, 0, -0.6 / 0.07], abs=1e-5)
        predictor.logit_scale.fill_(7.0)
        assert predictor(queries, conditions).flatten()[0].item() == clamp


def test_a_pixel_decoder_of_another_width_is_rejected(phi3):
    with pytest.raises(ValueError, match="hidden_dim"):
        MaskDecoder(replace(phi3.config.mask_decoder, feature_size=32))
