"""What a language model's config.json tells is what transformers reads in it, and what is not built is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.export.part_files import PHI3, edit
from xsam_edge.export.infer.language_model_file import read_language_model
from xsam_edge.export.models.registry import get_architecture
from xsam_edge.runtime.errors import CheckpointError

# As SmolLM2's, in a size of no model.
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 90,
    "rms_norm_eps": 1e-05,
    "rope_theta": 100000,
    "rope_scaling": None,
    "rope_interleaved": False,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "pretraining_tp": 1,
}
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 12, "use_sliding_window": False, "sliding_window": 7}
PHI3_MINI = LLAMA | {"model_type": "phi3", "sliding_window": 7, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}


def read(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps(content))
    return read_language_model(folder, get_architecture(content["model_type"]))


def test_llama(tmp_path):
    assert read(tmp_path, LLAMA) == {
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_layers": 2,
        "num_heads": 6,
        "num_kv_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e5,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "context_length": 8192,
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("content", [LLAMA, QWEN3, PHI3_MINI], ids=["llama", "qwen3", "phi3"])
def test_files_are_read_as_transformers_reads_them(tmp_path, content, seed):
    """Whatever they leave out, in either spelling of rotary positions."""
    transformers = pytest.importorskip("transformers", reason="pip install xsam-edge[dev]")
    draw = random.Random(seed)
    sizes = {"model_type", "hidden_size", "num_attention_heads"}
    kept = {key: value for key, value in content.items() if key in sizes or draw.random() < 0.6}
    if "rope_theta" in kept and draw.random() < 0.5:
        del kept["rope_theta"]
        kept["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    ours = read(tmp_path, kept)
    config = transformers.AutoConfig.from_pretrained(str(tmp_path), local_files_only=True)
    assert ours["num_heads"] == config.num_attention_heads
    assert ours["num_kv_heads"] == (config.num_key_value_heads or config.num_attention_heads)
    assert ours["head_dim"] == getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    assert ours["rms_norm_eps"] == config.rms_norm_eps
    assert ours["rope_theta"] == config.rope_parameters["rope_theta"]
    assert ours["sliding_window"] == getattr(config, "sliding_window", None)
    assert ours["tie_word_embeddings"] == config.tie_word_embeddings
    assert ours["context_length"] == config.max_position_embeddings
    for key, field in {"intermediate_size": "intermediate_size", "num_hidden_layers": "num_layers"}.items():
        assert ours.get(field) == kept.get(key)  # the weights tell it where the file does not


@pytest.mark.parametrize("model_type", ["phi3", "qwen3"])
def test_windows_of_language_models(phi3_reference, qwen3_reference, tmp_path, model_type):
    source = {"phi3": phi3_reference / "inits" / PHI3, "qwen3": qwen3_reference / "inits" / "Qwen3-1.7B"}[model_type]
    shutil.copytree(source, tmp_path / "a" / "llm")

    def window() -> int | None:
        return read_language_model(tmp_path / "a" / "llm", get_architecture(model_type))["sliding_window"]

    edit(tmp_path / "a", "llm", sliding_window=None)
    assert window() is None
    if model_type == "qwen3":
        edit(tmp_path / "a", "llm", sliding_window=5, use_sliding_window=False)
        assert window() is None
        edit(tmp_path / "a", "llm", use_sliding_window=True, max_window_layers=1, layer_types=None)
        with pytest.raises(CheckpointError, match="layers of 2 kinds"):
            window()
        edit(tmp_path / "a", "llm", max_window_layers=0)
        assert window() == 5
        edit(tmp_path / "a", "llm", layer_types=["full_attention", "sliding_attention"], use_sliding_window=False)
        with pytest.raises(CheckpointError, match="layers of 2 kinds"):
            window()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "rope_scaling llama3: not supported; use a .* default",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_scaling yarn: not supported"),
        ({"rope_scaling": "linear"}, "rope_scaling linear: not supported"),
        (
            {"attention_bias": True},
            "attention_bias True: not supported; use a language model with attention_bias False",
        ),
        ({"mlp_bias": True}, "mlp_bias True: not supported; use a language model with mlp_bias False"),
        ({"hidden_act": "gelu"}, "hidden_act gelu: not supported; use a language model with hidden_act silu"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5: not supported"),
        ({"num_attention_heads": "six"}, "unusable: llm.num_heads is 'six'; expected a whole number above 0"),
        ({"num_attention_heads": 0}, "unusable: llm.num_heads is 0"),
        ({"rope_theta": float("inf")}, "unusable: llm.rope_theta is inf"),
        ({"layer_types": 3}, "unusable"),
    ],
)
def test_what_is_not_supported_is_named_with_what_to_do(tmp_path, values, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read(tmp_path, LLAMA | values)
    assert "\n" not in str(caught.value)


def test_only_llama_files_have_mlp_bias(tmp_path):
    assert read(tmp_path, QWEN3 | {"mlp_bias": True})["num_heads"] == 6
