from dataclasses import replace

import torch

from tests.export.conftest import recorded_model
from xsam_edge.export.models.random_weights import init_weights
from xsam_edge.export.models.xsam import ImageEncoderGraph, LanguageModelGraph, MaskDecoderGraph, XSam

# Tensors of a checkpoint that no result depends on.
DEAD = (
    "vision_encoder.vision_model.encoder.layers.2.",
    "vision_encoder.vision_model.post_layernorm.",
    "vision_encoder.vision_model.head.",
    "segmentor.encoder.neck.",
    "segmentor.shared_image_embedding.",
)


def test_parameters_have_the_checkpoint_names(recorded):
    dead = (*DEAD, "llm.lm_head.") if recorded.config.llm.tie_word_embeddings else DEAD
    living = {name: tensor.shape for name, tensor in recorded.state_dict.items() if not name.startswith(dead)}
    assert {name: tensor.shape for name, tensor in recorded.model.state_dict().items()} == living


def test_graph_modules_keep_the_names(phi3):
    names = set(phi3.model.state_dict())
    graphs = [
        set(module(phi3.model).state_dict()) for module in (ImageEncoderGraph, LanguageModelGraph, MaskDecoderGraph)
    ]
    assert set.union(*graphs) == names
    assert sum(map(len, graphs)) == len(names)


def test_image_encoder_outputs(phi3):
    images = phi3.tensors("image_features")
    out = ImageEncoderGraph(phi3.model)(images["pixel_values"], images["extra_pixel_values"])
    expected = [
        torch.cat((images["visual_projector"], images["seg_projector"]), 1),
        images["pixel_decoder.mask_features"],
        *(images[f"pixel_decoder.multi_scale.{index}"] for index in range(3)),
    ]
    torch.testing.assert_close(list(out[:5]), expected, atol=5e-5, rtol=0)
    # The finest level has the size of the mask features.
    assert [tuple(x.shape) for x in out[5:]] == [(1, 64, 4, 4), (1, 64, 8, 8)]
    assert out[0].shape[1] == phi3.config.vision_tokens + phi3.config.mask_tokens


def test_language_model_outputs(qwen3):
    config = qwen3.config.llm
    past = [torch.randn(1, 3, config.num_kv_heads, config.head_dim) for _ in range(2 * config.num_layers)]
    embeds, positions = torch.randn(1, 2, config.hidden_size), torch.tensor([[3, 4]])
    logits, next_ids, seg_hidden, *new = LanguageModelGraph(qwen3.model)(embeds, positions, torch.tensor([1]), past)
    pairs = [(past[2 * layer], past[2 * layer + 1]) for layer in range(config.num_layers)]
    hidden, expected, new_pairs = qwen3.model.llm(embeds, positions, pairs, torch.tensor([1]))
    assert torch.equal(logits, expected)
    assert torch.equal(next_ids, expected.argmax(-1))
    assert torch.equal(seg_hidden, qwen3.model.llm_projector(hidden))
    assert all(torch.equal(a, b) for a, b in zip(new, (x for pair in new_pairs for x in pair), strict=True))


def test_for_gpus_the_image_encoder_gives_keys_and_values(phi3):
    images, gpu = phi3.tensors("image_features"), recorded_model("golden-phi3", "", "gpu")
    pixels = images["pixel_values"], images["extra_pixel_values"]
    (_, features, *rest), (_, same, *pairs) = (ImageEncoderGraph(recorded.model)(*pixels) for recorded in (phi3, gpu))
    torch.testing.assert_close(same, features, atol=5e-5, rtol=0)
    multi_scale = [images[f"pixel_decoder.multi_scale.{index}"] for index in range(3)]
    expected = [x for pair in phi3.model.segmentor.decoder.keys_and_values(multi_scale) for x in pair]
    assert [tuple(x.shape) for x in expected[::2]] == [(1, 16, 64), (1, 64, 64), (1, 256, 64)]
    torch.testing.assert_close(pairs, [*expected, *rest[3:]], atol=1e-4, rtol=0)


def test_mask_decoder_appends_the_background(phi3_in_dialect):
    phi3 = phi3_in_dialect
    images, run = phi3.tensors("image_features"), phi3.tensors("img_refseg")
    _, *features = ImageEncoderGraph(phi3.model)(images["pixel_values"], images["extra_pixel_values"])
    conditions = run["tensor/segmentor.in.cond_embeds"][:, :-1]
    graph = MaskDecoderGraph(phi3.model)
    logits, masks = graph(run["tensor/segmentor.in.seg_embeds"], conditions, features[0], features[1:])
    torch.testing.assert_close(logits, run["tensor/class_queries_logits"], atol=5e-5, rtol=0)
    torch.testing.assert_close(masks, run["tensor/decoder.masks_lowres.3"], atol=5e-5, rtol=0)


def test_other_sizes(phi3):
    """An odd mask grid, other depths and widths: nothing is tied to the recorded sizes."""
    config = replace(
        phi3.config,
        mask_encoder=replace(phi3.config.mask_encoder, image_size=144, window_size=4, taps=(0, 1, 2), select_layer=1),
        vision_encoder=replace(phi3.config.vision_encoder, image_size=44, patch_size=11),
        mask_decoder=replace(phi3.config.mask_decoder, num_queries=7, mask_feature_size=32, decoder_layers=2),
    )
    model = init_weights(XSam(config), seed=1)
    assert len(model.segmentor.encoder.layers) == 2
    with torch.no_grad():
        out = ImageEncoderGraph(model)(torch.randn(1, 3, 44, 44), torch.randn(1, 3, 144, 144))
        embed = torch.randn(1, 1, 64)
        logits, masks = MaskDecoderGraph(model)(embed, torch.randn(1, 5, 64), out[1], list(out[2:]))
    assert out[0].shape == (1, 16 + 25, 64)
    assert out[1].shape == (1, 32, 20, 20)
    assert logits.shape == (1, 7, 6)
    assert masks.shape == (1, 7, 20, 20)
    assert all(tensor.isfinite().all() for tensor in (*out, logits, masks))


def test_deformable_forms_agree(phi3):
    images = phi3.tensors("image_features")
    pixels = images["pixel_values"], images["extra_pixel_values"]
    other = XSam(phi3.config, deformable="grid_sample").requires_grad_(False)
    other.load_state_dict(phi3.model.state_dict())
    outputs = zip(ImageEncoderGraph(phi3.model)(*pixels), ImageEncoderGraph(other)(*pixels), strict=True)
    assert all((a - b).abs().max() < 2e-5 for a, b in outputs)


def test_builds_without_memory(phi3):
    with torch.device("meta"):
        model = XSam(phi3.config)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not list(model.buffers())
