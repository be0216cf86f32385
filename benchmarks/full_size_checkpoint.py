"""A checkpoint that was never trained, in the form and the size of the released one.

    python -m xsam_edge.benchmarks.full_size_checkpoint FOLDER [--form bin] [--variant phi3] [--layers 4]

writes 9.25 GB: every tensor that the official code saves, those that nothing is computed with too, in bfloat16, and
beside them the configurations of the four parts with a stand-in tokenizer. Weights have a sane scale, so that
activations fit into FP16; the same seed gives the same ones in each form and in the names of each line. No more than a
block of one tensor is held in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch

from xsam_edge.export.bundle import expected_tensors
from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.inits import Part
from xsam_edge.export.config.naming import aaai26_name, computed_layers
from xsam_edge.export.config.overrides import random_config
from xsam_edge.export.config.save_inits import save_inits
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import VARIANTS, Variant, get_variant
from xsam_edge.export.graph.trace import fake_tensors
from xsam_edge.export.graph.weights import RandomWeights, blocks
from xsam_edge.export.staging import check_space
from xsam_edge.export.tokenizer import stand_in_tokenizer
from xsam_edge.runtime.cli.common import Parser, command, count
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress, Tally, silent
from xsam_edge.runtime.units import duration, size

PROGRAM = "python -m xsam_edge.benchmarks.full_size_checkpoint"
SHARD_BYTES = 5_000_000_000  # as save_pretrained splits
Form = Literal["safetensors", "bin"]

_NECK = 256  # channels of SAM's neck and of its prompts, whatever the encoder's size
_ITEM = 2  # bytes of a bfloat16
_SMALL = 1 << 20  # room for configurations, tokenizer and headers

Shapes = Mapping[str, tuple[int, ...]]


def official_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of everything that the official code saves of a model, in ``main`` names."""
    computed = expected_tensors(config)
    return computed | _unused_layers(config, computed) | _unused_heads(config)


def _unused_layers(config: ModelConfig, computed: Shapes) -> dict[str, tuple[int, ...]]:
    """SigLIP's layers past the hidden state that is used, of the shapes of its first. Of SAM the last state is used."""
    vision, stem = config.vision_encoder, "vision_encoder.vision_model.encoder.layers"
    first = {name.removeprefix(f"{stem}.0."): s for name, s in computed.items() if name.startswith(f"{stem}.0.")}
    unused = range(computed_layers([vision.select_layer], vision.num_layers), vision.num_layers)
    return {f"{stem}.{layer}.{name}": shape for layer in unused for name, shape in first.items()}


def _unused_heads(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """SigLIP's last norm and pooling head, SAM's neck and the positions of its prompts."""
    vision, mask = config.vision_encoder, config.mask_encoder
    width, wide = vision.hidden_size, vision.intermediate_size
    siglip = {
        "post_layernorm.weight": (width,),
        "post_layernorm.bias": (width,),
        "head.probe": (1, 1, width),
        "head.attention.in_proj_weight": (3 * width, width),
        "head.attention.in_proj_bias": (3 * width,),
        "head.attention.out_proj.weight": (width, width),
        "head.attention.out_proj.bias": (width,),
        "head.layernorm.weight": (width,),
        "head.layernorm.bias": (width,),
        "head.mlp.fc1.weight": (wide, width),
        "head.mlp.fc1.bias": (wide,),
        "head.mlp.fc2.weight": (width, wide),
        "head.mlp.fc2.bias": (width,),
    }
    sam = {
        "shared_image_embedding.positional_embedding": (2, _NECK // 2),
        "encoder.neck.conv1.weight": (_NECK, mask.hidden_size, 1, 1),
        "encoder.neck.layer_norm1.weight": (_NECK,),
        "encoder.neck.layer_norm1.bias": (_NECK,),
        "encoder.neck.conv2.weight": (_NECK, _NECK, 3, 3),
        "encoder.neck.layer_norm2.weight": (_NECK,),
        "encoder.neck.layer_norm2.bias": (_NECK,),
    }
    vision_names = {f"vision_encoder.vision_model.{name}": shape for name, shape in siglip.items()}
    return vision_names | {f"segmentor.{name}": shape for name, shape in sam.items()}


@dataclass(frozen=True)
class Tensors:
    """What is written: weights that are drawn by their ``main`` names, under the names of a line."""

    weights: RandomWeights
    rename: Callable[[str], str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name in the file -> shape."""
        return {self.rename(name): shape for name, shape in self.weights.shapes.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return sum(_nbytes(shape) for shape in self.weights.shapes.values())

    def content(self) -> Iterator[tuple[str, Iterator[memoryview]]]:
        """Name in the file and bytes of each tensor, in blocks."""
        for name, shape in self.weights.shapes.items():
            yield self.rename(name), self._blocks(name, shape)

    def _blocks(self, name: str, shape: tuple[int, ...]) -> Iterator[memoryview]:
        for start, stop in blocks(shape):
            values = torch.from_numpy(self.weights.read_rows(name, start, stop)).to(torch.bfloat16)
            yield values.contiguous().view(torch.int16).numpy().reshape(-1).data.cast("B")


def _nbytes(shape: tuple[int, ...]) -> int:
    return prod(shape) * _ITEM


def write_safetensors(tensors: Tensors, folder: Path, tally: Tally, limit: int = SHARD_BYTES) -> None:
    """Write shards of at most ``limit`` bytes and their index, or one file without an index where all fit."""
    shards = _shards(tensors.shapes, limit)
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    content = tensors.content()
    for file_name, shard in zip(names, shards, strict=True):
        with (folder / file_name).open("wb") as file:
            file.write(_header(shard))
            for _ in shard:
                _, parts = next(content)
                for part in parts:
                    tally.add(file.write(part))
    if len(shards) > 1:
        weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index = {"metadata": {"total_size": tensors.nbytes}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(shapes: Shapes, limit: int) -> list[dict[str, tuple[int, ...]]]:
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for name, shape in shapes.items():
        if shards[-1] and filled + _nbytes(shape) > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += _nbytes(shape)
    return shards


def _header(shard: Shapes) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shard.items():
        end = offset + _nbytes(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_torch(tensors: Tensors, folder: Path, tally: Tally) -> None:
    """Write ``pytorch_model.bin`` as ``torch.save`` does, first without the values, which are filled in after.

    The archive's checksums are those of nothing; torch does not look at them.
    """
    path = folder / "pytorch_model.bin"
    with fake_tensors():
        state = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in tensors.shapes.items()}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, path)
    places = open_checkpoint(path)
    with path.open("r+b") as file:
        for name, parts in tensors.content():
            file.seek(places[name].offset)
            for part in parts:
                tally.add(file.write(part))


def write_checkpoint(
    variant: Variant, folder: Path, form: Form, seed: int = 0, progress: Progress = silent, limit: int = SHARD_BYTES
) -> Tensors:
    """Write a checkpoint of a variant's sizes, with names of its line, into a new folder.

    Raises:
        InputError: the folder exists.
        XSamError: the disk is too small.
    """
    if folder.exists():
        raise InputError(f"{folder} exists; choose another folder, or remove it")
    weights = RandomWeights(official_tensors(variant.config), seed)
    tensors = Tensors(weights, aaai26_name if variant.line == "aaai26" else str)
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_space(folder.parent, tensors.nbytes + _SMALL)
    folder.mkdir()
    tokenizer_json = stand_in_tokenizer(variant.prompt, variant.config.llm.vocab_size)
    hub = variant.hub
    repositories: dict[Part, str] = {
        "llm": hub.llm,
        "vision_encoder": hub.vision_encoder,
        "mask_encoder": hub.mask_encoder,
        "mask_decoder": hub.mask_decoder,
    }
    names = {part: repository.rpartition("/")[2] for part, repository in repositories.items()}
    save_inits(variant, tokenizer_json, folder / "inits", names)
    tally = Tally(progress, "weights", tensors.nbytes, "bytes")
    if form == "bin":
        write_torch(tensors, folder, tally)
    else:
        write_safetensors(tensors, folder, tally, limit)
    return tensors


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(PROGRAM, description=__doc__.partition("\n")[0])
    options.add_argument("folder", type=Path, help="a folder that does not exist yet")
    options.add_argument(
        "--variant", default="phi3-aaai26", choices=list(VARIANTS), help="whose sizes and names (default: %(default)s)"
    )
    options.add_argument(
        "--form",
        default="safetensors",
        choices=["safetensors", "bin"],
        help="shards, or one file (default: %(default)s)",
    )
    options.add_argument("--seed", type=count, default=0, help="of the weights (default: %(default)s)")
    options.add_argument("--layers", type=count, metavar="N", help="of the language model (default: all)")
    return options


def run(options: argparse.Namespace) -> int:
    """Write and tell what it took; returns the exit code."""
    start = time.perf_counter()
    overrides = {} if options.layers is None else {"llm.num_layers": options.layers}
    variant = get_variant(options.variant)
    variant = replace(variant, config=random_config(variant, overrides))
    with ProgressPrinter(sys.stderr) as progress:
        tensors = write_checkpoint(variant, options.folder, options.form, options.seed, progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    taken = duration(time.perf_counter() - start)
    print(f"{options.folder}: {len(tensors.shapes):,} tensors, {size(tensors.nbytes)}")
    print(f"took {taken}, {size(peak)} of memory at the peak")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
