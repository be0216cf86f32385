"""Exported graphs: what they take and give, and that they compute what the torch modules do."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tests.export.conftest import recorded_model
from xsam_edge.export.bundle import build_graph
from xsam_edge.export.config.check import check_config
from xsam_edge.export.config.sizes import level_sizes
from xsam_edge.export.graph.graphs import feature_shapes
from xsam_edge.export.graph.trace import fake_tensors
from xsam_edge.export.graph.weights import write_external_data
from xsam_edge.export.models.random_weights import init_weights
from xsam_edge.export.models.xsam import ImageEncoderGraph, LanguageModelGraph, MaskDecoderGraph, XSam
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.manifest import TensorSpec, read_manifest

# Fixture of a bundle -> fixture of the model that it was exported from.
BUNDLES = {
    "phi3_bundle": "phi3",
    "phi3_gpu_bundle": "phi3_gpu",
    "phi3_fp16_bundle": "phi3_gpu",
    "qwen3_bundle": "qwen3",
    "qwen3_fp16_bundle": "qwen3_gpu",
    "llama_bundle": "llama",
}
FP32 = {"phi3_bundle": "phi3", "phi3_gpu_bundle": "phi3_gpu", "qwen3_bundle": "qwen3", "llama_bundle": "llama"}
# The encoder and the mask decoder do not know the language model.
FP32_ENCODERS = {"phi3_bundle": "phi3", "phi3_gpu_bundle": "phi3_gpu", "qwen3_bundle": "qwen3"}


@pytest.mark.parametrize(("bundle", "source"), BUNDLES.items())
def test_contract(request: pytest.FixtureRequest, bundle: str, source: str) -> None:
    """Names, order, axes and types of all three graphs, in the manifest and in the files."""
    path: Path = request.getfixturevalue(bundle)
    config = request.getfixturevalue(source).config
    manifest = read_manifest(path)
    kind = {"fp32": "float32", "fp16": "float16"}[manifest.precision]
    assert ("fp16" in bundle) == (kind == "float16")
    vision, mask, decoder, llm = config.vision_encoder, config.mask_encoder, config.mask_decoder, config.llm
    embed, hidden, queries = decoder.hidden_dim, llm.hidden_size, decoder.num_queries
    multi_scale = {
        "multi_scale.0": (1, embed, 4, 4),
        "multi_scale.1": (1, embed, 8, 8),
        "multi_scale.2": (1, embed, 16, 16),
    }
    projected = {
        f"level_{part}.{layer}": (1, rows, embed)
        for layer, rows in zip(range(decoder.decoder_layers), (16, 64, 256), strict=True)
        for part in ("key", "value")
    }
    maps = multi_scale if manifest.dialect == "cpu" else projected
    features = [
        TensorSpec("mask_features", "float32", (1, decoder.mask_feature_size, 16, 16)),
        *(TensorSpec(name, kind, shape) for name, shape in maps.items()),
        TensorSpec("level_mask_features.0", "float32", (1, decoder.mask_feature_size, 4, 4)),
        TensorSpec("level_mask_features.1", "float32", (1, decoder.mask_feature_size, 8, 8)),
    ]
    image_tokens = config.vision_tokens + config.mask_tokens
    past = (1, "past", llm.num_kv_heads, llm.head_dim)
    new = ("batch", "sequence", llm.num_kv_heads, llm.head_dim)
    layers = range(llm.num_layers)
    pairs = [(part, layer) for layer in layers for part in ("key", "value")]
    expected = {
        "image_encoder": (
            [
                TensorSpec("pixel_values", "float32", (1, 3, vision.image_size, vision.image_size)),
                TensorSpec("mask_pixel_values", "float32", (1, 3, mask.image_size, mask.image_size)),
            ],
            [TensorSpec("image_embeds", kind, (1, image_tokens, hidden)), *features],
        ),
        "llm": (
            [
                TensorSpec("inputs_embeds", kind, ("batch", "sequence", hidden)),
                TensorSpec("position_ids", "int64", (1, "sequence")),
                TensorSpec("logits_positions", "int64", ("rows",)),
                *(TensorSpec(f"past_{part}.{layer}", kind, past) for part, layer in pairs),
            ],
            [
                TensorSpec("logits", "float32", ("rows", llm.vocab_size)),
                TensorSpec("next_ids", "int64", ("rows",)),
                TensorSpec("seg_hidden", "float32", ("batch", "sequence", embed)),
                *(TensorSpec(f"new_{part}.{layer}", kind, new) for part, layer in pairs),
            ],
        ),
        "mask_decoder": (
            [
                TensorSpec("seg_embed", "float32", ("batch", 1, embed)),
                TensorSpec("condition_embeds", "float32", ("batch", "conditions", embed)),
                *features,
            ],
            [
                TensorSpec("class_logits", "float32", ("batch", queries, "classes")),
                TensorSpec("mask_logits", "float32", ("batch", queries, 16, 16)),
            ],
        ),
    }
    further = [] if manifest.dialect == "cpu" else ["pixels"]  # see test_pixels
    assert list(manifest.graphs) == [*expected, *further]
    for name, (inputs, outputs) in expected.items():
        assert list(manifest.graphs[name].inputs) == inputs, name
        assert list(manifest.graphs[name].outputs) == outputs, name
        session = open_session(path, name)
        for found, wanted in ((session.get_inputs(), inputs), (session.get_outputs(), outputs)):
            assert [tensor.name for tensor in found] == [tensor.name for tensor in wanted]
            assert all(
                axis == size or (isinstance(axis, str) and isinstance(size, str))
                for tensor, spec in zip(found, wanted, strict=True)
                for axis, size in zip(tensor.shape, spec.shape, strict=True)
            )


def test_levels_of_an_odd_grid() -> None:
    """The connector pads an odd grid before it shuffles, up or down (official ``ConvConnectorLayer``)."""
    config = recorded_model("golden-phi3", "").config
    assert level_sizes(config) == [(4, 4), (8, 8), (16, 16)]
    odd = replace(config, mask_encoder=replace(config.mask_encoder, image_size=144))
    assert level_sizes(odd) == [(5, 5), (10, 10), (20, 20)]
    with torch.no_grad():
        _, mask_features, *rest = ImageEncoderGraph(XSam(odd))(
            torch.zeros(1, 3, config.vision_encoder.image_size, config.vision_encoder.image_size),
            torch.zeros(1, 3, 144, 144),
        )
    assert [tuple(x.shape) for x in (mask_features, *rest)] == list(feature_shapes(odd).values())


@cache
def open_session(path: Path, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])


def run(path: Path, name: str, *inputs: Tensor) -> list[np.ndarray]:
    session = open_session(path, name)
    types = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int64)": np.int64}
    fed = {
        spec.name: np.ascontiguousarray(value.numpy().astype(types[spec.type]))
        for spec, value in zip(session.get_inputs(), inputs, strict=True)
    }
    return session.run(None, fed)


def eager(module: nn.Module, *inputs: object) -> list[np.ndarray]:
    with torch.no_grad():
        return [tensor.numpy() for tensor in module(*inputs)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def largest_difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [array.shape for array in found] == [array.shape for array in expected]
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("bundle", "source"), FP32_ENCODERS.items())
def test_image_encoder_equals_torch(request: pytest.FixtureRequest, bundle: str, source: str) -> None:
    model = request.getfixturevalue(source).model
    vision, mask = model.config.vision_encoder.image_size, model.config.mask_encoder.image_size
    pixels = noise(1, 3, vision, vision), noise(1, 3, mask, mask, seed=1)
    found = run(request.getfixturevalue(bundle), "image_encoder", *pixels)
    assert largest_difference(found, eager(ImageEncoderGraph(model), *pixels)) < 1e-4


@pytest.mark.parametrize(
    ("past", "batch", "sequence", "rows"),
    [
        (0, 1, 9, [8]),  # prefill
        (0, 1, 1, [0]),
        (17, 1, 6, [0, 5, 2]),  # a suffix behind a cached prefix
        (17, 1, 1, [0]),  # decode
        (17, 1, 6, []),  # no logits
        (0, 1, 9, []),
        (150, 1, 3, [2]),  # past the trained context
        (17, 3, 6, [0, 17, 7]),  # several prompts behind one prefix
        (0, 2, 1, [1]),
    ],
)
@pytest.mark.parametrize(("bundle", "source"), FP32.items())
def test_language_model_equals_torch(
    request: pytest.FixtureRequest, bundle: str, source: str, past: int, batch: int, sequence: int, rows: list[int]
) -> None:
    model = request.getfixturevalue(source).model
    config = model.config.llm
    inputs = (
        noise(batch, sequence, config.hidden_size),
        torch.arange(past, past + sequence)[None],
        torch.tensor(rows, dtype=torch.int64),
    )
    cache_ = [noise(1, past, config.num_kv_heads, config.head_dim, seed=i + 1) for i in range(2 * config.num_layers)]
    found = run(request.getfixturevalue(bundle), "llm", *inputs, *cache_)
    assert largest_difference(found, eager(LanguageModelGraph(model), *inputs, cache_)) < 1e-4
    assert found[1].dtype == np.int64
    np.testing.assert_array_equal(found[1], found[0].argmax(-1))


@pytest.mark.parametrize("sequence", [1, 6])
@pytest.mark.parametrize(("bundle", "source"), FP32.items())
def test_padding_behind_the_past_changes_nothing(
    request: pytest.FixtureRequest, bundle: str, source: str, sequence: int
) -> None:
    path, config = request.getfixturevalue(bundle), request.getfixturevalue(source).config.llm
    past = 17
    step = (
        noise(1, sequence, config.hidden_size),
        torch.arange(past, past + sequence)[None],
        torch.arange(sequence),
    )

    def cache_(rows: int) -> list[Tensor]:
        shape = (config.num_kv_heads, config.head_dim)
        kept = [noise(1, past, *shape, seed=index + 1) for index in range(2 * config.num_layers)]
        return [torch.cat((rows_, 100 * noise(1, rows, *shape, seed=99)), 1) for rows_ in kept]

    expected = run(path, "llm", *step, *cache_(0))
    for rows in (1, 239):
        assert largest_difference(run(path, "llm", *step, *cache_(rows)), expected) < 1e-5


@pytest.mark.parametrize(("batch", "conditions"), [(1, 1), (1, 2), (1, 7), (1, 133), (3, 1), (2, 5)])
@pytest.mark.parametrize(("bundle", "source"), FP32_ENCODERS.items())
def test_mask_decoder_equals_torch(
    request: pytest.FixtureRequest, bundle: str, source: str, batch: int, conditions: int
) -> None:
    model = request.getfixturevalue(source).model
    embed = model.config.mask_decoder.hidden_dim
    shapes = feature_shapes(model.config, model.dialect).values()
    features = [noise(*shape, seed=index) for index, shape in enumerate(shapes)]
    seg, condition = noise(batch, 1, embed, seed=8), noise(batch, conditions, embed, seed=9)
    found = run(request.getfixturevalue(bundle), "mask_decoder", seg, condition, *features)
    expected = eager(MaskDecoderGraph(model), seg, condition, features[0], features[1:])
    assert found[0].shape[::2] == (batch, conditions + 1)
    assert largest_difference(found, expected) < 1e-4


def test_the_logit_clamp_is_that_of_the_line(phi3_bundle: Path, aaai26_bundle: Path) -> None:
    model = recorded_model("golden-phi3", "").model
    embed = model.config.mask_decoder.hidden_dim
    features = [noise(*shape) for shape in feature_shapes(model.config).values()]
    main, aaai26 = (
        run(path, "mask_decoder", noise(1, 1, embed), noise(1, 1, embed), *features)[0]
        for path in (phi3_bundle, aaai26_bundle)
    )
    np.testing.assert_allclose(main, aaai26.clip(-50, 50), atol=1e-4)


@pytest.mark.parametrize(("bundle", "source"), [item for item in BUNDLES.items() if "fp16" in item[0]])
def test_half_precision_stays_close(request: pytest.FixtureRequest, bundle: str, source: str) -> None:
    path = request.getfixturevalue(bundle)
    model = request.getfixturevalue(source).model
    vision, mask, llm = model.config.vision_encoder.image_size, model.config.mask_encoder.image_size, model.config.llm
    pixels = noise(1, 3, vision, vision), noise(1, 3, mask, mask, seed=1)
    pairs = zip(run(path, "image_encoder", *pixels), eager(ImageEncoderGraph(model), *pixels), strict=True)
    assert max(np.abs(a.astype(np.float32) - b).max() / np.abs(b).max() for a, b in pairs) < 0.02
    inputs = noise(1, 9, llm.hidden_size), torch.arange(9)[None], torch.arange(9)
    past = [noise(1, 0, llm.num_kv_heads, llm.head_dim)] * (2 * llm.num_layers)
    pairs = zip(run(path, "llm", *inputs, *past), eager(LanguageModelGraph(model), *inputs, past), strict=True)
    assert max(np.abs(a.astype(np.float32) - b).max() / np.abs(b).max() for a, b in pairs) < 0.02


class _Weights:
    def __init__(self, model: XSam) -> None:
        self.tensors = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
        self.shapes = {name: array.shape for name, array in self.tensors.items()}

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        return self.tensors[name][start:stop]


@pytest.mark.parametrize("dialect", ["cpu", "gpu"])
def test_other_sizes_equal_torch(tmp_path: Path, dialect: Dialect) -> None:
    """Nothing recorded: an odd grid that windows do not divide, two levels, grouped queries, an image with a rest."""
    recorded = recorded_model("golden-phi3", "").config
    config = replace(
        recorded,
        llm=replace(
            recorded.llm, num_layers=1, num_heads=6, num_kv_heads=2, head_dim=10, hidden_size=24, sliding_window=5
        ),
        vision_encoder=replace(
            recorded.vision_encoder, num_layers=2, image_size=30, patch_size=7, hidden_size=24, num_heads=3
        ),
        mask_encoder=replace(
            recorded.mask_encoder, hidden_size=32, image_size=58, patch_size=8, window_size=3, taps=(1, 3), num_heads=2
        ),
        connector=replace(recorded.connector, scales=(2, 0.5)),
        mask_decoder=replace(
            recorded.mask_decoder, encoder_layers=1, num_levels=2, feature_channels=(16, 64), num_queries=5
        ),
    )
    check_config(config)
    model = init_weights(XSam(config, dialect=dialect), seed=0, std=0.1).eval().requires_grad_(False)
    shapes = list(feature_shapes(config, dialect).values())
    assert level_sizes(config) == [(4, 4), (16, 16)]
    features = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    past = [noise(1, 7, 2, 10, seed=i) for i in range(2 * config.llm.num_layers)]
    cases = {
        "image_encoder": (ImageEncoderGraph(model), (noise(1, 3, 30, 30), noise(1, 3, 58, 58))),
        "llm": (LanguageModelGraph(model), (noise(1, 4, 24), torch.arange(7, 11)[None], torch.tensor([3]), past)),
        "mask_decoder": (
            MaskDecoderGraph(model),
            (noise(1, 1, 64), noise(1, 3, 64), features[0], features[1:]),
        ),
    }
    with fake_tensors():
        blank = XSam(config, dialect=dialect)
    for name, (module, inputs) in cases.items():
        graph, plans = build_graph(blank, name, "fp32")
        write_external_data(graph, plans, _Weights(model), tmp_path / f"{name}.onnx.data")
        ir.save(graph, tmp_path / f"{name}.onnx")
        flat = [tensor for value in inputs for tensor in (value if isinstance(value, list) else [value])]
        assert largest_difference(run(tmp_path, name, *flat), eager(module, *inputs)) < 1e-4, name


@pytest.mark.parametrize("bundle", ["phi3_bundle", "phi3_fp16_bundle"])
def test_of_equal_logits_the_first_is_next(request: pytest.FixtureRequest, bundle: str) -> None:
    """Hidden states of zero have equal logits."""
    config = recorded_model("golden-phi3", "").config.llm
    past = [noise(1, 0, config.num_kv_heads, config.head_dim)] * (2 * config.num_layers)
    step = torch.zeros(1, 2, config.hidden_size), torch.arange(2)[None], torch.arange(2)
    logits, next_ids, *_ = run(request.getfixturevalue(bundle), "llm", *step, *past)
    assert not np.ptp(logits) and not next_ids.any()
