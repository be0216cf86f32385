"""Small hand-made values for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    EmbeddingTable,
    FileEntry,
    GraphSpec,
    Manifest,
    Provenance,
    TensorSpec,
)
from xsam_edge.runtime.bundle.settings import (
    MaskInput,
    ModelFacts,
    PromptFormat,
    RegionSampling,
    Settings,
    SpecialTokens,
    VisionInput,
)

SETTINGS = Settings(
    model=ModelFacts(8, 4, 16, 1, 1, 4, 64, 6, (1, 2), (4, 4), 3),
    vision_input=VisionInput(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 2, 1 / 255, False),
    mask_input=MaskInput(8, 8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 2, 1 / 255),
    prompt=PromptFormat("<|user|>{input}", "<image>", "<|end|>", ("<|end|>",)),
    regions=RegionSampling(256, 4, "mean"),
    tokens=SpecialTokens(13, 14, 15, None),
    interactive_match="mask",
    semantic_resize="logits",
)


def _specs(**tensors: tuple[int | str, ...]) -> tuple[TensorSpec, ...]:
    """Tensors of float32, but for those of indices; "__" stands for the dot in a name."""
    indices = ("position_ids", "logits_positions", "next_ids")
    return tuple(
        TensorSpec(name.replace("__", "."), "int64" if name in indices else "float32", shape)
        for name, shape in tensors.items()
    )


def graph_specs(suffix: str = "onnx") -> dict[str, GraphSpec]:
    """The three graphs of a model of ``SETTINGS``."""
    features = {"mask_features": (1, 4, 4, 4), "multi_scale__0": (1, 4, 2, 2)}
    row = ("sequence", 1, 4)
    return {
        "image_encoder": GraphSpec(
            f"image_encoder.{suffix}",
            _specs(pixel_values=(1, 3, 8, 8), mask_pixel_values=(1, 3, 8, 8)),
            _specs(image_embeds=(1, 6, 8), **features),
        ),
        "llm": GraphSpec(
            f"llm.{suffix}",
            _specs(
                inputs_embeds=("batch", "sequence", 8),
                position_ids=(1, "sequence"),
                logits_positions=("rows",),
                past_key__0=(1, "past", 1, 4),
                past_value__0=(1, "past", 1, 4),
            ),
            _specs(
                logits=("rows", 16),
                next_ids=("rows",),
                seg_hidden=("batch", "sequence", 4),
                new_key__0=("batch", *row),
                new_value__0=("batch", *row),
            ),
        ),
        "mask_decoder": GraphSpec(
            f"mask_decoder.{suffix}",
            _specs(seg_embed=("batch", 1, 4), condition_embeds=("batch", "conditions", 4), **features),
            _specs(class_logits=("batch", 3, "classes"), mask_logits=("batch", 3, 4, 4)),
        ),
    }


EMBEDDINGS = EmbeddingTable("float32", 16, 8)
MANIFEST = Manifest(
    variant="phi3",
    precision="fp32",
    source=Provenance("a.bin", "", "main"),
    settings=SETTINGS,
    embeddings=EMBEDDINGS,
    graphs=graph_specs(),
    files={EMBEDDINGS_FILE: FileEntry(EMBEDDINGS.nbytes, "0" * 64)},
    producer={"xsam-edge": "0.1.0"},
)
"""A whole manifest, small and of no files."""


def write_files(folder: Path, manifest: Manifest, graph: bytes, **others: bytes) -> Manifest:
    """Write what a bundle has to hold, and the manifest that describes it; each graph is ``graph``.

    Of ``others`` "__" in the name stands for a dot.
    """
    contents = {TOKENIZER_FILE: b"{}", EMBEDDINGS_FILE: b"\0" * EMBEDDINGS.nbytes}
    contents |= {spec.file: graph for spec in manifest.graphs.values()}
    contents |= {name.replace("__", "."): content for name, content in others.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    written = replace(manifest, files={name: FileEntry.of(folder / name) for name in contents})
    (folder / MANIFEST_FILE).write_text(written.to_json())
    return written
