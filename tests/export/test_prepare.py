from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from tests.export.part_files import SAM, SIGLIP, edit
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.prepare import from_checkpoint, from_random
from xsam_edge.runtime.bundle.settings import ModelFacts, RegionSampling
from xsam_edge.runtime.errors import CheckpointError, InputError
from xsam_edge.runtime.progress import silent

SMALL = {
    "llm.num_layers": 1,
    "vision_encoder.num_layers": 2,
    "mask_encoder.num_layers": 4,
    "mask_encoder.image_size": 144,
    "mask_encoder.patch_size": 16,
    "llm.vocab_size": 700,
}


def open_(path: Path, **options: object):
    return from_checkpoint(str(path), progress=silent, **options)


def test_facts_of_a_checkpoint(phi3_reference: Path) -> None:
    request = open_(phi3_reference)
    recorded = json.loads((phi3_reference / "config.json").read_text())
    tiny = recorded["tiny"]
    assert request.variant == "phi3"
    assert request.source.line == "main"
    assert request.source.checkpoint == "golden-phi3"
    assert len(request.source.sha256) == 64
    assert request.settings.model == ModelFacts(
        hidden_size=64,
        embed_size=64,
        vocab_size=602,
        num_layers=2,
        num_kv_heads=4,
        head_dim=16,
        context_length=tiny["phi3"]["max_position_embeddings"],
        image_tokens=request.config.vision_tokens + request.config.mask_tokens,
        region_grid=(4, 4),
        mask_grid=(16, 16),
        num_queries=10,
    )
    tokenizer = Tokenizer.from_str(request.tokenizer_json)
    tokens = request.settings.tokens
    assert [tokenizer.token_to_id(text) for text in ("<SEG>", "<p>", "</p>")] == [
        tokens.seg,
        tokens.phrase_start,
        tokens.phrase_end,
    ]
    assert request.settings.regions == RegionSampling(256, 4, "mean")
    assert not request.settings.vision_input.pad_to_square
    assert request.settings.interactive_match == "mask"


def test_a_checkpoint_in_shards_is_told_by_its_files(phi3_reference: Path, tmp_path: Path) -> None:
    tensors = load_file(phi3_reference / "state_dict.safetensors")
    shards = {"2.safetensors": sorted(tensors)[:9], "1.safetensors": sorted(tensors)[9:]}
    for file, names in shards.items():
        save_file({name: tensors[name] for name in names}, tmp_path / file)
    weight_map = {name: file for file, names in shards.items() for name in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "inits").symlink_to(phi3_reference / "inits")
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    source = open_(tmp_path).source
    hashes = {file: hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() for file in shards}
    assert source.files == hashes
    assert source.sha256 == "+".join(source.files.values())
    assert source.licence == "apache-2.0"
    assert open_(phi3_reference).source.licence == ""


def test_a_blob_of_the_hub_that_is_not_its_hash(phi3_reference: Path, tmp_path: Path) -> None:
    """The cache's name of a file is its hash, by which damage is seen without a network."""
    content = (phi3_reference / "state_dict.safetensors").read_bytes()
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "c0ffee"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (snapshot / "inits").symlink_to(phi3_reference / "inits")
    name = hashlib.sha256(content).hexdigest()
    (blobs / name).write_bytes(content)
    (snapshot / "model.safetensors").symlink_to(blobs / name)
    assert open_(snapshot).source.files == {"model.safetensors": name}
    (blobs / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: its SHA-256 .*; remove .*blobs.*again"):
        open_(snapshot)


def test_the_aaai26_line_differs_in_its_rules_only(phi3_reference: Path, aaai26_checkpoint: Path) -> None:
    main, other = open_(phi3_reference), open_(aaai26_checkpoint)
    assert (other.variant, other.source.line) == ("phi3-aaai26", "aaai26")
    assert other.settings.model == main.settings.model
    assert other.settings.tokens == main.settings.tokens
    assert other.settings.regions == RegionSampling(256, 256, "max")
    assert other.settings.prompt.image_token == "<image>\n"
    assert other.settings.vision_input.pad_to_square
    assert other.settings.interactive_match == "box"
    assert other.settings.semantic_resize == "evidence"
    assert other.config.mask_decoder.logit_clamp == 500
    # Names of the main line, whatever the file calls them.
    assert main.weights.shapes.keys() == other.weights.shapes.keys()


def test_overrides_and_inits_are_used(phi3_reference: Path, tmp_path: Path) -> None:
    shutil.copy(phi3_reference / "state_dict.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="give the model's inits"):
        open_(tmp_path)
    request = open_(tmp_path, inits=phi3_reference / "inits", overrides={"mask_decoder.logit_clamp": 7})
    assert request.config.mask_decoder.logit_clamp == 7


def test_a_missing_tensor_is_named(phi3_reference: Path, tmp_path: Path) -> None:
    tensors = load_file(phi3_reference / "state_dict.safetensors")
    del tensors["segmentor.decoder.decoder.layers.1.fc2.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"segmentor\.decoder\.decoder\.layers\.1\.fc2\.bias"):
        open_(tmp_path, inits=phi3_reference / "inits")


def test_a_damaged_tokenizer_is_named(qwen3_reference: Path, tmp_path: Path) -> None:
    shutil.copytree(qwen3_reference / "inits", tmp_path / "inits")
    (place,) = (tmp_path / "inits").glob("*/tokenizer.json")
    place.write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"no readable tokenizer\.json"):
        open_(qwen3_reference, inits=tmp_path / "inits")


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (
            SIGLIP,
            {"image_std": [0, 0.5, 0.5]},
            r"settings: vision_input\.std\[0\] is 0\.0; expected a finite number from",
        ),
        (SIGLIP, {"image_mean": [float("nan"), 0, 0]}, r"vision_input\.mean\[0\] is nan; expected a finite number"),
        (SAM, {"resample": 9}, r"mask_input\.resample is 9; expected one of 0, 1, 2, 3, 4, 5; check the files"),
    ],
)
def test_what_the_runtime_would_refuse_is_refused_first(
    part: str, values: dict[str, object], message: str, phi3_reference: Path, tmp_path: Path
) -> None:
    shutil.copytree(phi3_reference / "inits", tmp_path / "inits")
    edit(tmp_path / "inits", part, file="preprocessor_config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        open_(phi3_reference, inits=tmp_path / "inits")


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_models_need_no_files(variant: str) -> None:
    request = from_random(variant, 3, overrides=SMALL)
    assert request.config.llm.num_layers == 1
    assert request.settings.model.mask_grid == (20, 20)
    assert request.settings.model.region_grid == (5, 5)
    assert request.source.checkpoint == "random weights, seed 3"
    tokenizer = Tokenizer.from_str(request.tokenizer_json)
    assert tokenizer.get_vocab_size() <= 700
    assert tokenizer.token_to_id(request.settings.prompt.answer_suffix) is not None
    ids = tokenizer.encode("a red car<SEG>", add_special_tokens=False).ids
    assert ids[-1] == request.settings.tokens.seg
    assert max(ids) < 700
    rows = request.weights.read_rows("llm.model.embed_tokens.weight", 0, 2)
    assert rows.shape == (2, request.config.llm.hidden_size)


def test_random_models_take_a_tokenizer(phi3_reference: Path) -> None:
    sizes = SMALL | {"vision_encoder.image_size": 56, "mask_encoder.image_size": 128}
    request = from_random("phi3", 0, inits=phi3_reference / "inits", overrides=sizes)
    assert Tokenizer.from_str(request.tokenizer_json).get_vocab_size() == 602
    with pytest.raises(CheckpointError, match="the tokenizer has 602 tokens, the checkpoint 601 embeddings"):
        from_random("phi3", 0, inits=phi3_reference / "inits", overrides=sizes | {"llm.vocab_size": 601})


def test_wrong_sizes_are_an_input_error() -> None:
    with pytest.raises(InputError, match=r"llm\.num_layers is 'two'"):
        from_random("phi3", 0, overrides={"llm.num_layers": "two"})
    with pytest.raises(InputError, match="unknown variant 'gpt'"):
        from_random("gpt", 0)
