"""The modules against those of transformers, with sizes that no recorded model has."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from xsam_edge.export.config.sizes import LLMConfig, MaskDecoderConfig, MaskEncoderConfig, VisionEncoderConfig
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.mask_decoder import MaskDecoder
from xsam_edge.export.models.mask_encoder import MaskEncoder
from xsam_edge.export.models.pixel_decoder import PixelDecoder
from xsam_edge.export.models.vision_encoder import VisionEncoder

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed (pip install xsam-edge[export])"
)

SEEDS = range(4)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(level)


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter random: transformers leaves some uninitialised."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        scale = float("norm" in name and name.endswith("weight"))
        parameter.data.copy_(0.15 * torch.randn(parameter.shape, generator=generator) + scale)
    return module.eval().requires_grad_(False)


def filled(module: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict({name: tensors[name] for name in module.state_dict()})
    return module.eval().requires_grad_(False)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["phi3", "qwen3", "llama"])
def test_language_models(kind: str, seed: int) -> None:
    """Grouped queries, windows that bite, other head sizes; whole and in two parts."""
    draw = random.Random(seed)
    kv_heads = draw.choice([1, 2, 3])
    heads, head_dim = kv_heads * draw.choice([1, 2, 3]), draw.choice([4, 8, 12])
    hidden = draw.choice([24, 40]) if kind == "qwen3" else heads * head_dim
    window, tied = draw.choice([None, 3, 5, 9]), draw.random() < 0.5
    window = None if kind == "llama" else window
    theta, layers = draw.choice([1e4, 5e5]), draw.choice([1, 2, 3])
    options = {
        "vocab_size": 97,
        "hidden_size": hidden,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attn_implementation": "eager",
    }
    if kind == "phi3":
        config = transformers.Phi3Config(**options, sliding_window=window, original_max_position_embeddings=128)
        theirs = transformers.Phi3ForCausalLM(config)
    elif kind == "llama":
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    else:
        use = {"use_sliding_window": window is not None, "sliding_window": window or 128, "max_window_layers": 0}
        config = transformers.Qwen3Config(**options, **use, head_dim=head_dim)
        theirs = transformers.Qwen3ForCausalLM(config)
    drawn(theirs, seed)
    sizes = LLMConfig(kind, hidden, 32, layers, heads, kv_heads, head_dim, 97, 1e-5, theta, window, tied, 128)
    ours = filled(CausalLM(sizes), theirs.state_dict())
    embeds = noise(seed, 1, 17, hidden)
    expected = theirs(inputs_embeds=embeds, use_cache=False, output_hidden_states=True)
    hidden_states, logits, _ = ours(embeds, torch.arange(17)[None], ours.empty_cache(), torch.arange(17))
    equal(hidden_states, expected.hidden_states[-1])
    equal(logits, expected.logits[0])
    *_, past = ours(embeds[:, :9], torch.arange(9)[None], ours.empty_cache(), torch.arange(0))
    equal(ours(embeds[:, 9:], torch.arange(9, 17)[None], past, torch.arange(8))[1], expected.logits[0, 9:])


@pytest.mark.parametrize("seed", SEEDS)
def test_mask_encoder(seed: int) -> None:
    """Odd grids, windows that do not divide them or are larger, any set of global layers."""
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    draw = random.Random(seed)
    heads = draw.choice([1, 2, 4])
    hidden, patch = heads * draw.choice([4, 8, 12]), draw.choice([4, 8])
    grid, window, layers = draw.choice([3, 5, 7, 8, 9, 14]), draw.choice([2, 3, 4, 5, 14, 20]), draw.choice([2, 3, 4])
    global_layers = sorted(draw.sample(range(layers), draw.randint(0, layers)))
    config = transformers.SamVisionConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=grid * patch,
        patch_size=patch,
        window_size=window,
        global_attn_indexes=global_layers,
        mlp_dim=20,
        output_channels=8,
        attn_implementation="eager",
    )
    theirs = drawn(SamVisionEncoder(config), seed)
    sizes = MaskEncoderConfig(hidden, 20, layers, heads, grid * patch, patch, window, tuple(global_layers), (layers,))
    ours = filled(MaskEncoder(sizes), theirs.state_dict())
    expected: list[Tensor] = []
    for layer in theirs.layers:
        layer.register_forward_hook(lambda _m, _a, out: expected.append(out[0] if isinstance(out, tuple) else out))
    pixels = noise(seed, 1, 3, grid * patch, grid * patch)
    theirs(pixels)
    for found, state in zip(ours.hidden_states(pixels)[1:], expected, strict=True):
        equal(found, state)


@pytest.mark.parametrize("seed", SEEDS)
def test_vision_encoder(seed: int) -> None:
    """Images that patches do not fill, any activation and state."""
    draw = random.Random(seed)
    heads, patch, size = draw.choice([1, 2, 3]), draw.choice([7, 10]), draw.choice([29, 35, 44])
    layers, act = draw.choice([2, 3, 4]), draw.choice(["gelu", "gelu_pytorch_tanh", "relu"])
    select = draw.choice([-2, 1])
    config = transformers.SiglipVisionConfig(
        hidden_size=8 * heads,
        intermediate_size=20,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=size,
        patch_size=patch,
        hidden_act=act,
        attn_implementation="eager",
    )
    theirs = drawn(transformers.SiglipVisionModel(config), seed)
    tensors = {f"vision_model.{name.removeprefix('vision_model.')}": x for name, x in theirs.state_dict().items()}
    sizes = VisionEncoderConfig(8 * heads, 20, layers, heads, size, patch, hidden_act=act, select_layer=select)
    ours = filled(VisionEncoder(sizes), tensors)
    pixels = noise(seed, 2, 3, size, size)
    equal(ours(pixels), theirs(pixels, output_hidden_states=True).hidden_states[select])


def _mask2former(seed: int) -> tuple[object, MaskDecoderConfig, list[tuple[int, int]]]:
    draw = random.Random(seed)
    heads, width, mask_width = draw.choice([1, 2, 4, 8]), draw.choice([32, 64]), draw.choice([8, 24])
    channels, queries = tuple(draw.choice([4, 8]) for _ in range(3)), draw.choice([3, 7])
    encoder_layers, decoder_layers = draw.choice([1, 2]), draw.choice([1, 3, 4])
    sizes = [(side, side) for side in sorted((draw.randint(2, 12) for _ in range(3)), reverse=True)]
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(embed_dim=4, depths=[1] * 4, num_heads=[1] * 4),
        feature_size=width,
        mask_feature_size=mask_width,
        hidden_dim=width,
        encoder_feedforward_dim=24,
        dim_feedforward=20,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers + 1,
        num_attention_heads=heads,
        num_queries=queries,
        dropout=0.0,
    )
    ours = MaskDecoderConfig(
        width, width, mask_width, 24, 20, heads, encoder_layers, decoder_layers, queries, 3, 4, channels, 50.0
    )
    return config, ours, sizes


@pytest.mark.parametrize("seed", SEEDS)
def test_mask_decoder(seed: int) -> None:
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerTransformerModule

    config, sizes, grids = _mask2former(seed)
    theirs = drawn(Mask2FormerTransformerModule(in_features=sizes.feature_size, config=config), seed)
    ours = filled(MaskDecoder(sizes), theirs.state_dict())
    levels = [noise(seed + i, 1, sizes.feature_size, *grid) for i, grid in enumerate(grids[::-1])]
    mask_features = noise(seed + 9, 1, sizes.mask_feature_size, *grids[0])
    expected = theirs(levels, mask_features, output_hidden_states=True)
    no_seg, resized = torch.zeros(1, 1, sizes.hidden_dim), MaskDecoder.prepare(mask_features, levels)
    queries, masks = ours(no_seg, mask_features, ours.keys_and_values(levels), resized, all_layers=True)
    for found, state in zip(queries, expected.intermediate_hidden_states, strict=True):
        equal(found, state.transpose(0, 1))
    for found, state in zip(masks, expected.masks_queries_logits, strict=True):
        equal(found, state)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", ["gather", "grid_sample"])
def test_pixel_decoder(form: str, seed: int) -> None:
    """The levels; mask features come from another map in X-SAM."""
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

    config, sizes, grids = _mask2former(seed)
    theirs = drawn(Mask2FormerPixelDecoder(config, feature_channels=[6, *sizes.feature_channels]), seed)
    maps = [noise(seed + i, 1, n, *grid) for i, (n, grid) in enumerate(zip(sizes.feature_channels, grids, strict=True))]
    adapter = torch.zeros(sizes.feature_size, sizes.feature_channels[0], 1, 1)
    ours = filled(PixelDecoder(sizes, form), {**theirs.state_dict(), "adapter_1.0.weight": adapter})
    fine = noise(seed, 1, 6, 2 * grids[0][0], 2 * grids[0][1])
    expected = theirs([fine, *maps], output_hidden_states=True).multi_scale_features
    for found, level in zip(ours(maps)[1], expected, strict=True):
        equal(found, level)
