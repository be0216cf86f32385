"""Stage by stage: the torch reference against the runtime, on the same weights and inputs, in one run.

    python -m xsam_edge.benchmarks.stages [--variant phi3] [--repeat 5] [--threads 2] [--json | --markdown]

A model with random weights, reduced in depth and width but with real token counts for its image sizes, is exported to
FP32, and every stage is run by both sides in turn. The first round is not counted. Pre- and post-processing are not
included. Both sides use the same number of threads; times are medians, and the largest difference between the sides'
outputs stands beside them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from xsam_edge.export import reference
from xsam_edge.export.bundle import BundleRequest, write_bundle
from xsam_edge.export.models.xsam import XSam as TorchXSam
from xsam_edge.export.prepare import from_random
from xsam_edge.export.variants import VARIANTS
from xsam_edge.export.weights import read
from xsam_edge.runtime.cli.common import Parser, Progress, command
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.pipeline import ImageFeatures

# Some 100 M parameters: SigLIP at 384 px (729 tokens), SAM at 512 px (256 tokens), a language model of 6 layers.
SIZES = {
    "llm.hidden_size": 768,
    "llm.intermediate_size": 2048,
    "llm.num_layers": 6,
    "llm.num_heads": 12,
    "llm.num_kv_heads": 12,
    "llm.head_dim": 64,
    "llm.vocab_size": 8192,
    "vision_encoder.hidden_size": 384,
    "vision_encoder.intermediate_size": 1536,
    "vision_encoder.num_layers": 8,
    "vision_encoder.num_heads": 6,
    "mask_encoder.hidden_size": 384,
    "mask_encoder.mlp_dim": 1536,
    "mask_encoder.num_layers": 8,
    "mask_encoder.num_heads": 6,
    "mask_encoder.image_size": 512,
    "mask_decoder.feature_channels": (192, 384, 768),
}
PROMPT = "Can you segment <p>the man ironing</p> in this image? Please generate the segmentation mask."


@dataclass(frozen=True)
class Row:
    """One stage: medians in milliseconds, and how far the two sides' outputs are apart."""

    stage: str
    torch_ms: float
    runtime_ms: float
    max_abs: float

    @property
    def ratio(self) -> float:
        """How many times as fast the runtime is."""
        return self.torch_ms / self.runtime_ms


def torch_model(request: BundleRequest) -> TorchXSam:
    """The torch modules with the weights of a request."""
    model = TorchXSam(request.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(read(request.weights, name)))
    return model.eval()


def compare(name: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray], repeat: int) -> Row:
    """Run both sides in turn ``repeat`` times after one round that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    worst = 0.0
    for index in range(repeat + 1):
        results = []
        for side, run in enumerate((theirs, ours)):
            start = time.perf_counter()
            results.append(run())
            if index:
                times[side].append(1e3 * (time.perf_counter() - start))
        worst = max(worst, float(np.abs(results[0] - results[1]).max()))
    return Row(name, statistics.median(times[0]), statistics.median(times[1]), worst)


def measure(xsam: XSam, model: TorchXSam, repeat: int, progress: Progress) -> list[Row]:
    """All stages on one random image and one prompt."""
    generator = np.random.default_rng(0)
    settings, pipeline, language = xsam.manifest.settings, xsam.pipeline, xsam.language
    vision, mask = settings.vision_input, settings.mask_input
    pixels = generator.standard_normal((1, 3, vision.height, vision.width), np.float32)
    mask_pixels = generator.standard_normal((1, 3, mask.height, mask.width), np.float32)
    inputs = (torch.from_numpy(pixels), torch.from_numpy(mask_pixels))

    features = xsam.encode(pixels, mask_pixels)
    torch_features = reference.encode_image(model, *inputs)
    text = settings.prompt.instruction.replace("{input}", settings.prompt.image_token + PROMPT)
    embeds = language.embed(language.encode(text), features)
    length = embeds.shape[1]
    last = np.array([length - 1])
    step, first = embeds[:, -1:], np.zeros(1, np.int64)
    cache = reference.prefill(model, torch.from_numpy(embeds)).cache
    seg = generator.standard_normal(settings.model.embed_size, np.float32)
    conditions = generator.standard_normal((1, settings.model.embed_size), np.float32)

    def prefill() -> np.ndarray:
        pipeline.cache.truncate(0)
        return pipeline.forward(embeds, last)[0]

    def decode() -> np.ndarray:
        pipeline.cache.truncate(length)
        return pipeline.forward(step, first)[0]

    @torch.no_grad()
    def torch_decode() -> np.ndarray:
        position = torch.tensor([[length]])
        return model.llm(torch.from_numpy(step), position, cache, torch.zeros(1, dtype=torch.int64))[1].numpy()

    @torch.no_grad()
    def torch_masks() -> np.ndarray:
        from xsam_edge.export.models.xsam import MaskDecoderGraph

        graph = MaskDecoderGraph(model)
        rest = torch_features.decoder_features
        embed = torch.from_numpy(seg)[None, None]
        return graph(embed, torch.from_numpy(conditions)[None], torch_features.mask_features, rest)[1].numpy()[0]

    stages: list[tuple[str, Callable[[], np.ndarray], Callable[[], np.ndarray]]] = [
        (
            "image encoder",
            lambda: _image_embeds(xsam.encode(pixels, mask_pixels)),
            lambda: reference.encode_image(model, *inputs).image_embeds.numpy()[0],
        ),
        (
            f"llm prefill, {length} tokens",
            prefill,
            lambda: reference.prefill(model, torch.from_numpy(embeds)).logits.numpy(),
        ),
        (f"llm decode step, past {length}", decode, torch_decode),
        ("mask decoder, 1 condition", lambda: pipeline.decode_masks(features, seg, conditions)[1], torch_masks),
    ]
    rows = []
    for name, ours, theirs in stages:
        progress(name)
        rows.append(compare(name, ours, theirs, repeat))
    return rows


def _image_embeds(features: ImageFeatures) -> np.ndarray:
    return features.image_embeds


def environment(threads: int) -> dict[str, str]:
    """What a number was measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor(),
        "threads": str(threads),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "onnxruntime", "numpy")},
    }


def markdown(rows: Sequence[Row], facts: dict[str, str], parameters: int) -> str:
    """The table as Markdown."""
    lines = [
        "| stage | torch eager, ms | runtime, ms | ratio | max abs difference |",
        "|---|---|---|---|---|",
        *(f"| {r.stage} | {r.torch_ms:.1f} | {r.runtime_ms:.1f} | {r.ratio:.2f} | {r.max_abs:.1e} |" for r in rows),
        "",
        f"{parameters / 1e6:.0f} M random parameters, FP32; " + ", ".join(f"{k} {v}" for k, v in facts.items()),
    ]
    return "\n".join(lines)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    torch.set_num_threads(options.threads)
    with Progress(sys.stderr) as progress, tempfile.TemporaryDirectory() as folder:
        progress("export")
        request = from_random(options.variant, 0, overrides=SIZES)
        write_bundle(request, Path(folder) / "bundle", report=progress)
        xsam = XSam.load(Path(folder) / "bundle", threads=options.threads, verify=False)
        model = torch_model(request)
        rows = measure(xsam, model, options.repeat, progress)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = environment(options.threads)
    if options.json:
        stages = [{**asdict(row), "ratio": row.ratio} for row in rows]
        print(json.dumps({"stages": stages, "parameters": parameters, "environment": facts}))
    else:
        print(markdown(rows, facts, parameters))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = Parser("stages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="phi3", choices=VARIANTS)
    parser.add_argument("--repeat", type=int, default=5, help="rounds that are counted (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of both sides (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return command("stages", parser, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
