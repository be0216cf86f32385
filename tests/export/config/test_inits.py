"""Files of the parts: released spellings are read, unsupported ones refused, and input rules fit the model."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.export.part_files import PHI3, SAM, SIGLIP, edit
from xsam_edge.export.config.inits import find_part
from xsam_edge.export.config.input_settings import mask_input, vision_input
from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.infer.config import config_from_checkpoint
from xsam_edge.runtime.errors import CheckpointError


def test_released_spellings(shapes, inits):
    # google/siglip2-*: the vision tower nested; facebook/sam-*: mlp_dim null; Phi-3: remote code that must not be run.
    siglip = json.loads((inits / SIGLIP / "config.json").read_text())
    (inits / SIGLIP / "config.json").write_text(
        json.dumps({"model_type": "siglip", "vision_config": siglip, "text_config": {"hidden_size": 7}})
    )
    edit(inits, SAM, "vision_config", mlp_dim=None)
    edit(inits, PHI3, auto_map={"AutoConfig": "configuration_phi3.Phi3Config"})
    (inits / PHI3 / "configuration_phi3.py").write_text("raise SystemExit('remote code was run')")
    config = config_from_checkpoint(shapes, get_variant("phi3"), inits)
    assert (config.vision_encoder.num_heads, config.mask_encoder.mlp_dim) == (4, 64)


def test_finding_parts(inits, tmp_path):
    variant = get_variant("phi3")
    assert find_part(inits, "llm", variant) == inits / PHI3
    shutil.copytree(inits / PHI3, inits / "A-finetuned-model")
    assert find_part(inits, "llm", variant) == inits / PHI3
    (inits / PHI3).rename(inits / "Another-model")
    with pytest.raises(CheckpointError, match=r"several folders .*A-finetuned-model, Another-model"):
        find_part(inits, "llm", variant)
    shutil.rmtree(inits / "Another-model")
    assert find_part(inits, "llm", variant) == inits / "A-finetuned-model"
    assert find_part(inits, "llm", get_variant("qwen3-1.7b")) is None
    with pytest.raises(CheckpointError, match="is no folder"):
        find_part(tmp_path / "absent", "llm", variant)
    (inits / SAM / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        find_part(inits, "llm", variant)


def test_input_settings(shapes, inits):
    variant = get_variant("phi3-aaai26")
    config = config_from_checkpoint(shapes, variant, inits)
    vision, mask = vision_input(config, variant, inits), mask_input(config, variant, inits)
    assert (vision.height, vision.width, vision.resample, vision.pad_to_square) == (56, 56, 2, True)
    assert (mask.longest_edge, mask.height, mask.width, mask.resample) == (128, 128, 128, 2)
    assert (vision.mean, mask.std) == ((0.5, 0.5, 0.5), (0.229, 0.224, 0.225))
    assert vision_input(config, variant) == vision  # the variant's values at the model's size
    assert mask_input(config, variant) == mask
    file = "preprocessor_config.json"
    edit(inits, SIGLIP, file=file, resample=3, image_mean=[0.1, 0.2, 0.3], rescale_factor=0.5)
    changed = vision_input(config, variant, inits)
    assert (changed.resample, changed.mean, changed.rescale_factor) == (3, (0.1, 0.2, 0.3), 0.5)
    edit(inits, SAM, file=file, size={"longest_edge": 96})
    assert mask_input(config, variant, inits).longest_edge == 96


@pytest.mark.parametrize(
    ("folder", "values", "message"),
    [
        (SIGLIP, {"size": {"height": 70, "width": 70}}, "70 x 70; the vision encoder takes 56"),
        (SIGLIP, {"size": {"shortest_edge": 56}}, "expected height and width"),
        (SIGLIP, {"do_rescale": False}, "do_rescale False: not supported"),
        (SIGLIP, {"image_mean": 0.5}, "damaged"),
        (SAM, {"pad_size": {"height": 256, "width": 256}}, "pads to 256 x 256"),
        (SAM, {"size": {"longest_edge": 256}}, "scales to 256"),
        (SAM, {"do_normalize": None}, "do_normalize None: not supported"),
    ],
)
def test_input_files_that_do_not_fit(shapes, inits, folder, values, message):
    variant = get_variant("phi3")
    config = config_from_checkpoint(shapes, variant, inits)
    edit(inits, folder, file="preprocessor_config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        (vision_input if folder == SIGLIP else mask_input)(config, variant, inits)
