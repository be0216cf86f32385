"""A checkpoint in the official format whose language model is a Llama, with weights that were never trained.

Nothing of a Llama is recorded: everything but the language model is that of a recorded checkpoint.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from xsam_edge.export.config.sizes import LLMConfig
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.export.models.random_weights import init_weights

#: As SmolLM2's config.json, in a size that fits the recorded projectors.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "vocab_size": 409,
}


def write_checkpoint(folder: Path, recorded: Path) -> Path:
    """Write weights, inits and, as recorded folders have them, facts; returns the folder."""
    facts = json.loads((recorded / "config.json").read_text())
    replaced = facts["tiny"].pop("qwen3")
    assert replaced["hidden_size"] == CONFIG["hidden_size"]
    facts["tiny"]["llama"] = CONFIG
    (folder / "config.json").write_text(json.dumps(facts))
    shutil.copy(recorded / "image.png", folder)
    _write_inits(folder / "inits", recorded / "inits")
    tensors = load_file(recorded / "state_dict.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("llm.")}
    llm = init_weights(CausalLM(_sizes(facts["special_tokens"]["tiny_vocab"])), seed=0)
    tensors |= {f"llm.{name}": tensor.contiguous() for name, tensor in llm.state_dict().items()}
    save_file(tensors, folder / "state_dict.safetensors")
    return folder


def _write_inits(folder: Path, recorded: Path) -> None:
    shutil.copytree(recorded, folder)
    (folder / "Qwen3-1.7B").rename(folder / "SmolLM2-360M-Instruct")
    (folder / "SmolLM2-360M-Instruct" / "config.json").write_text(json.dumps(CONFIG))


def _sizes(vocab_size: int) -> LLMConfig:
    heads = CONFIG["num_attention_heads"]
    return LLMConfig(
        model_type="llama",
        hidden_size=CONFIG["hidden_size"],
        intermediate_size=CONFIG["intermediate_size"],
        num_layers=CONFIG["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=CONFIG["num_key_value_heads"],
        head_dim=CONFIG["hidden_size"] // heads,
        vocab_size=vocab_size,
        rms_norm_eps=CONFIG["rms_norm_eps"],
        rope_theta=CONFIG["rope_theta"],
        sliding_window=None,
        tie_word_embeddings=True,
        context_length=CONFIG["max_position_embeddings"],
    )
