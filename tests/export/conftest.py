"""Torch models of the recorded references, with their recorded tensors."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.config.sizes import (
    ConnectorConfig,
    LLMConfig,
    MaskDecoderConfig,
    MaskEncoderConfig,
    ModelConfig,
    VisionEncoderConfig,
)
from xsam_edge.export.config.variants import language_model_types
from xsam_edge.export.models.xsam import XSam
from xsam_edge.runtime.bundle.contract import Dialect
from xsam_edge.runtime.bundle.settings import MaskInput
from xsam_edge.runtime.image.preprocess import mask_pixels

DATA = Path(__file__).parents[1] / "data"
CLAMP = {"": 50.0, "aaai_": 500.0}


def _llm_config(name: str, sizes: dict[str, Any], vocab_size: int) -> LLMConfig:
    return LLMConfig(
        model_type=name,
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_layers=sizes["num_hidden_layers"],
        num_heads=sizes["num_attention_heads"],
        num_kv_heads=sizes["num_key_value_heads"],
        head_dim=sizes.get("head_dim", sizes["hidden_size"] // sizes["num_attention_heads"]),
        vocab_size=vocab_size,
        rms_norm_eps=sizes["rms_norm_eps"],
        rope_theta=sizes["rope_theta"],
        sliding_window=sizes.get("sliding_window"),
        tie_word_embeddings=sizes["tie_word_embeddings"],
        context_length=sizes["max_position_embeddings"],
    )


def _config(recorded: dict[str, Any], logit_clamp: float) -> ModelConfig:
    tiny = recorded["tiny"]
    (llm,) = set(language_model_types()) & set(tiny)
    siglip, sam, mask2former, xsam = tiny["siglip"], tiny["sam_vision"], tiny["m2f"], tiny["xsam"]
    return ModelConfig(
        llm=_llm_config(llm, tiny[llm], recorded["special_tokens"]["tiny_vocab"]),
        vision_encoder=VisionEncoderConfig(
            hidden_size=siglip["hidden_size"],
            intermediate_size=siglip["intermediate_size"],
            num_layers=siglip["num_hidden_layers"],
            num_heads=siglip["num_attention_heads"],
            image_size=siglip["image_size"],
            patch_size=siglip["patch_size"],
        ),
        mask_encoder=MaskEncoderConfig(
            hidden_size=sam["hidden_size"],
            mlp_dim=sam["mlp_dim"],
            num_layers=sam["num_hidden_layers"],
            num_heads=sam["num_attention_heads"],
            image_size=sam["image_size"],
            patch_size=sam["patch_size"],
            window_size=sam["window_size"],
            global_attention_layers=tuple(sam["global_attn_indexes"]),
            taps=tuple(xsam["extra_select_layers"][1:]),
        ),
        connector=ConnectorConfig(hidden_channels=xsam["connector_hidden_dim"]),
        mask_decoder=MaskDecoderConfig(
            hidden_dim=mask2former["hidden_dim"],
            feature_size=mask2former["feature_size"],
            mask_feature_size=mask2former["mask_feature_size"],
            encoder_feedforward_dim=mask2former["encoder_feedforward_dim"],
            feedforward_dim=mask2former["dim_feedforward"],
            num_heads=mask2former["num_attention_heads"],
            encoder_layers=mask2former["encoder_layers"],
            decoder_layers=mask2former["decoder_layers"] - 1,
            num_queries=mask2former["num_queries"],
            num_levels=3,
            num_points=4,
            feature_channels=tuple(xsam["feature_channels"]),
            logit_clamp=logit_clamp,
        ),
    )


@dataclass(frozen=True)
class Recorded:
    """One recorded model: ``line`` is "" (main) or "aaai_"; ``dialect`` is that of its torch model."""

    folder: Path
    line: str
    dialect: Dialect = "cpu"

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text())

    @cached_property
    def config(self) -> ModelConfig:
        return _config(self.facts, CLAMP[self.line])

    @cached_property
    def state_dict(self) -> dict[str, Tensor]:
        return load_file(self.folder / "state_dict.safetensors")

    @cached_property
    def model(self) -> XSam:
        model = XSam(self.config, dialect=self.dialect).eval()
        own = model.state_dict().keys()
        model.load_state_dict({name: tensor for name, tensor in self.state_dict.items() if name in own})
        return model.requires_grad_(False)

    @cached_property
    def mask_pixels(self) -> Tensor:
        """The recorded image as the mask encoder reads it."""
        facts = json.loads((self.folder / "inits/sam-vit-large/preprocessor_config.json").read_text())
        frame = MaskInput(
            longest_edge=facts["size"]["longest_edge"],
            height=facts["pad_size"]["height"],
            width=facts["pad_size"]["width"],
            mean=facts["image_mean"],
            std=facts["image_std"],
            resample=facts["resample"],
            rescale_factor=facts["rescale_factor"],
        )
        pixels, _ = mask_pixels(Image.open(self.folder / "image.png").convert("RGB"), frame)
        return torch.from_numpy(pixels)

    def tasks(self) -> list[str]:
        return sorted(path.stem.removeprefix(self.line) for path in self.folder.glob(f"{self.line}img_*.npz"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The arrays of ``<line><name>.npz``; integers as int64."""
        with np.load(self.folder / f"{self.line}{name}.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        return {
            key: torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "i" else array)
            for key, array in arrays.items()
        }


@cache
def recorded_model(folder: str, line: str, dialect: Dialect = "cpu") -> Recorded:
    """The model of a folder of ``DATA``, or of one anywhere."""
    return Recorded(DATA / folder, line, dialect)


@pytest.fixture(params=["cpu", "gpu"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Every dialect whose forms torch has in turn; ``cuda`` has those of ``gpu``."""
    return request.param


@pytest.fixture(params=[("golden-phi3", ""), ("golden-phi3", "aaai_"), ("golden-qwen3", "")], ids="-".join)
def recorded(request: pytest.FixtureRequest, dialect: Dialect) -> Recorded:
    """Every recorded model in every dialect in turn."""
    return recorded_model(*request.param, dialect)


@pytest.fixture
def phi3() -> Recorded:
    """The recorded Phi-3 model, main line."""
    return recorded_model("golden-phi3", "")


@pytest.fixture
def phi3_in_dialect(dialect: Dialect) -> Recorded:
    """The recorded Phi-3 model, main line, in every dialect in turn."""
    return recorded_model("golden-phi3", "", dialect)


@pytest.fixture
def phi3_gpu() -> Recorded:
    """The recorded Phi-3 model, main line, in the dialect for GPUs."""
    return recorded_model("golden-phi3", "", "gpu")


@pytest.fixture
def qwen3() -> Recorded:
    """The recorded Qwen3 model."""
    return recorded_model("golden-qwen3", "")


@pytest.fixture
def qwen3_gpu() -> Recorded:
    """The recorded Qwen3 model in the dialect for GPUs."""
    return recorded_model("golden-qwen3", "", "gpu")


@pytest.fixture
def llama(llama_reference: Path) -> Recorded:
    """A Llama model with random weights, of which nothing is recorded."""
    return recorded_model(str(llama_reference), "")


@pytest.fixture(scope="module")
def shapes(phi3_reference) -> dict[str, tuple[int, ...]]:
    """Shapes of the recorded Phi-3 checkpoint."""
    return open_checkpoint(phi3_reference).shapes


@pytest.fixture
def inits(phi3_reference, tmp_path) -> Path:
    """A copy of its parts' folder that a test may change."""
    return Path(shutil.copytree(phi3_reference / "inits", tmp_path / "inits"))
