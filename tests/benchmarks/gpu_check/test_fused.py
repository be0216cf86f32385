"""Torch's fused attention computes what the model's own forms do."""

from dataclasses import replace

import pytest
import torch

from xsam_edge.benchmarks.gpu_check.fused import fuse, joined_sdpa, summed_sdpa
from xsam_edge.benchmarks.gpu_check.random_model import random_model, randomise
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.models.llm import joined_attention
from xsam_edge.export.models.mask_encoder import MaskAttention
from xsam_edge.export.models.xsam import ImageEncoderGraph, LanguageModelGraph, XSam


@pytest.fixture(scope="module")
def models() -> tuple[XSam, XSam]:
    """One as it is and one that is fused, of the same weights, which are no small ones: attention matters."""
    config = VARIANTS["shapes"].config
    own, other = (random_model(config, "cpu", torch.float32) for _ in range(2))
    with torch.no_grad():
        for parameter in own.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    other.load_state_dict(own.state_dict())
    return own, fuse(other)


@torch.no_grad()
def test_images_are_encoded_alike(models: tuple[XSam, XSam]) -> None:
    config = models[0].config
    sizes = config.vision_encoder.image_size, config.mask_encoder.image_size
    pixels = [torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(size)) for size in sizes]
    own, other = (ImageEncoderGraph(model)(*pixels) for model in models)
    for one, two in zip(own, other, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)
    modules = list(models[1].modules())
    assert "_FusedVision" in {type(module).__name__ for module in modules}
    attends = {module.attend for module in modules if isinstance(module, MaskAttention)}
    assert attends == {summed_sdpa}


@torch.no_grad()
def test_tokens_are_read_alike(models: tuple[XSam, XSam]) -> None:
    config = models[0].config.llm
    embeds, positions = torch.randn(1, 5, config.hidden_size), torch.arange(7, 12)[None]
    past = [torch.randn(1, 7, config.num_kv_heads, config.head_dim) for _ in range(2 * config.num_layers)]
    own, other = (LanguageModelGraph(model)(embeds, positions, torch.tensor([4]), past) for model in models)
    torch.testing.assert_close(other[0], own[0], rtol=1e-3, atol=1e-4)


def test_shared_keys_are_repeated() -> None:
    query, bias = torch.randn(1, 3, 4, 8), torch.zeros(3, 5)
    new, past = ((torch.randn(1, count, 2, 8), torch.randn(1, count, 2, 8)) for count in (3, 2))
    torch.testing.assert_close(joined_sdpa(query, new, past, bias), joined_attention(query, new, past, bias))


def test_random_weights_are_the_same_each_time_and_leave_norms_alone() -> None:
    config = VARIANTS["shapes"].config
    small = replace(config, llm=replace(config.llm, num_layers=1))
    one, two = (random_model(small, "cpu", torch.float32) for _ in range(2))
    for (name, value), other in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0, msg=name)
    norm, bias = torch.nn.LayerNorm(4), torch.nn.Linear(4, 4)
    assert randomise(norm).weight.tolist() == [1] * 4 and randomise(bias).bias.tolist() == [0] * 4
    assert 0.001 < bias.weight.std() < 0.1
