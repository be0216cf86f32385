"""The released model's own widths and token counts, with four layers of its language model: graphs against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from xsam_edge.benchmarks.full_size_checkpoint import main as write_checkpoint
from xsam_edge.export.cli import main
from xsam_edge.export.models.xsam import ImageEncoderGraph, LanguageModelGraph, MaskDecoderGraph, XSam
from xsam_edge.export.prepare import from_checkpoint
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.progress import silent

LAYERS = 4
ROWS, PAST = 40, 1000  # a suffix behind an image and its prompt


@pytest.fixture(scope="module", params=["bin", "safetensors"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full-width") / request.param
    assert write_checkpoint([str(folder), "--form", request.param, "--layers", str(LAYERS)]) == 0
    return folder


def torch_model(checkpoint: Path, dialect: Dialect) -> XSam:
    """The modules with the checkpoint's own tensors, which no export has touched."""
    request = from_checkpoint(str(checkpoint), progress=silent)
    model = XSam(request.config, dialect=dialect)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = np.array(request.weights.read_rows(name, 0, parameter.shape[0]), np.float32)
            parameter.copy_(torch.from_numpy(rows).reshape(parameter.shape))
    return model.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(bundle: Path, name: str, module: nn.Module, *inputs: object) -> list[np.ndarray]:
    """The largest difference of every output, as a share of its largest magnitude, is below 1e-4."""
    flat = [tensor for value in inputs for tensor in (value if isinstance(value, list) else [value])]
    session = onnxruntime.InferenceSession(bundle / f"{name}.onnx", providers=["CPUExecutionProvider"])
    found = session.run(
        None, {spec.name: value.numpy() for spec, value in zip(session.get_inputs(), flat, strict=True)}
    )
    names = [spec.name for spec in session.get_outputs()]
    del session
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in module(*inputs)]
    for label, one, other in zip(names, found, expected, strict=True):
        assert one.shape == other.shape, label
        difference = np.abs(one.astype(np.float64) - other).max() / max(np.abs(other).max(), 1.0)
        assert difference < 1e-4, f"{name}: {label} differs by {difference:.1e}"
    return expected


@pytest.mark.slow  # 10 GB of memory, some minutes
def test_stages_equal_torch(checkpoint: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert main(["--checkpoint", str(checkpoint), "--for", "gpu", "-o", str(bundle)]) == 0
    model = torch_model(checkpoint, "gpu")
    config = model.config
    assert (config.llm.num_layers, config.llm.hidden_size, config.mask_encoder.image_size) == (LAYERS, 3072, 1024)
    pixels = [noise(1, 3, part.image_size, part.image_size) for part in (config.vision_encoder, config.mask_encoder)]
    image_embeds, *features = compare(bundle, "image_encoder", ImageEncoderGraph(model), *pixels)
    heads = config.llm.num_kv_heads, config.llm.head_dim
    past = [noise(1, PAST, *heads, seed=layer) for layer in range(2 * LAYERS)]
    embeds = torch.from_numpy(image_embeds)[:, :ROWS]
    positions = torch.arange(PAST, PAST + ROWS)[None]
    compare(bundle, "llm", LanguageModelGraph(model), embeds, positions, torch.tensor([0, ROWS - 1]), past)
    embed = config.mask_decoder.hidden_dim
    maps = [torch.from_numpy(array) for array in features]
    compare(bundle, "mask_decoder", MaskDecoderGraph(model), noise(1, 1, embed), noise(1, 3, embed), maps[0], maps[1:])
