import pytest
import torch

from xsam_edge.export.models.projectors import ShuffleProjector, pad_to_even, pixel_shuffle


def test_shuffle_down_order():
    x = torch.randn(2, 4, 6, 3)
    out = pixel_shuffle(x, 0.5)
    assert out.shape == (2, 2, 3, 12)
    for i in range(2):
        for j in range(2):
            start = i * 6 + j * 3
            assert torch.equal(out[..., start : start + 3], x[:, i::2, j::2])


def test_shuffle_up_order():
    x = torch.randn(2, 2, 3, 8)
    out = pixel_shuffle(x, 2)
    assert out.shape == (2, 4, 6, 2)
    for i in range(2):
        for j in range(2):
            start = j * 4 + i * 2
            assert torch.equal(out[:, i::2, j::2], x[..., start : start + 2])


def test_scale_one_is_identity_and_others_are_rejected():
    x = torch.randn(1, 2, 2, 4)
    assert pixel_shuffle(x, 1) is x
    with pytest.raises(ValueError, match=r"0\.25"):
        pixel_shuffle(x, 0.25)


def test_odd_sides_are_padded_at_the_end():
    x = torch.randn(1, 3, 4, 2)
    padded = pad_to_even(x)
    assert padded.shape == (1, 4, 4, 2)
    assert torch.equal(padded[:, :3], x)
    assert not padded[:, 3:].any()
    assert ShuffleProjector(2, 5)(torch.randn(1, 3, 5, 2)).shape == (1, 6, 5)


def test_seg_projector_matches_the_record(phi3):
    images = phi3.tensors("image_features")
    tokens = phi3.model.seg_projector(images["sam.hidden.3"])
    torch.testing.assert_close(tokens, images["seg_projector"], atol=1e-5, rtol=0)


def test_llm_projector_matches_the_record(phi3):
    run = phi3.tensors("img_refseg")
    embeds = phi3.model.llm_projector(run["tensor/llm.hidden.2"])
    torch.testing.assert_close(embeds, run["tensor/llm_projector.0"], atol=1e-5, rtol=0)
