"""What training frameworks write that is no model's own weights is refused by name, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.checkpoint.unsupported import check_names, check_object
from xsam_edge.runtime.errors import CheckpointError

LAYER = "llm.model.layers.0.self_attn.qkv_proj"
MERGE, DEQUANTIZE = "model.merge_and_unload()", "from before it was quantised"


@pytest.mark.parametrize(
    ("name", "what", "advice"),
    [
        (f"base_model.model.{LAYER}.lora_A.default.weight", "adapters of PEFT, such as LoRA,", MERGE),
        (f"{LAYER}.lora_B.weight", "adapters of PEFT", MERGE),
        (f"{LAYER}.lora_magnitude_vector.default.weight", "adapters of PEFT", MERGE),
        ("llm.model.embed_tokens.lora_embedding_A.default", "adapters of PEFT", MERGE),
        (f"module.{LAYER}.base_layer.weight", "adapters of PEFT", MERGE),
        ("llm.lm_head.modules_to_save.default.weight", "adapters of PEFT", MERGE),
        (f"{LAYER}.hada_w1_a.default", "adapters of PEFT", MERGE),
        ("llm._fsdp_wrapped_module._flat_param", "flat parameters of FSDP", "full_state_dict=True"),
        ("_fsdp_wrapped_module.flat_param_0", "flat parameters of FSDP", "full_state_dict=True"),
        (f"{LAYER}.weight.absmax", "weights that bitsandbytes quantised", DEQUANTIZE),
        (f"{LAYER}.weight.quant_state.bitsandbytes__nf4", "weights that bitsandbytes quantised", DEQUANTIZE),
        (f"{LAYER}.SCB", "weights that bitsandbytes quantised", DEQUANTIZE),
        (f"{LAYER}.qweight", "weights that GPTQ or AWQ quantised", DEQUANTIZE),
        (f"{LAYER}.g_idx", "weights that GPTQ or AWQ quantised", DEQUANTIZE),
        (f"{LAYER}.weight_packed", "quantised weights", DEQUANTIZE),
        (f"{LAYER}.weight_scale_inv", "quantised weights", DEQUANTIZE),
        (f"{LAYER}.W_q", "quantised weights", DEQUANTIZE),
    ],
)
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_forms_are_told_by_names(tmp_path: Path, name: str, what: str, advice: str, suffix: str) -> None:
    """Before types are looked at, which would be refused as well: codes are bytes."""
    tensors = {"bg_embeds.weight": torch.ones(2), name: torch.ones(2, dtype=torch.uint8)}
    file = tmp_path / f"x{suffix}"
    torch.save(tensors, file) if suffix == ".bin" else save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(file)
    message = str(caught.value)
    assert message.startswith(f"{file} holds {what}") and name in message and advice in message and "\n" not in message


def test_names_of_xsam_are_none_of_these(phi3_reference: Path, qwen3_reference: Path) -> None:
    for folder in (phi3_reference, qwen3_reference):
        check_names(folder, open_checkpoint(folder))


@pytest.mark.parametrize(
    "names",
    [
        ("zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"),
        ("mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"),
    ],
)
def test_a_folder_of_deepspeed(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "global_step100"
    folder.mkdir()
    for name in names:
        torch.save({"module": {"a": torch.zeros(0)}}, folder / name)
    for path in (tmp_path, folder, folder / names[1]):
        with pytest.raises(
            CheckpointError, match=r"_states\.pt is a shard of a checkpoint of DeepSpeed ZeRO; .*zero_to_fp"
        ):
            open_checkpoint(path)


def test_a_gathered_checkpoint_above_its_shards_is_taken(tmp_path: Path) -> None:
    (tmp_path / "global_step100").mkdir()
    torch.save({}, tmp_path / "global_step100" / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert set(open_checkpoint(tmp_path)) == {"a"}


def test_weights_of_deepspeed_before_stage_3_are_whole(tmp_path: Path) -> None:
    torch.save({"module": {"module.a": torch.ones(1)}, "dp_world_size": 2}, tmp_path / "mp_rank_00_model_states.pt")
    assert set(open_checkpoint(tmp_path)) == {"a"}


def test_parameters_without_values(tmp_path: Path) -> None:
    """As one process saves a model whose parameters ZeRO-3 parted."""
    torch.save({"a": torch.zeros(0), "b": torch.zeros(0), "c": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"2 of 3 tensors in .*pytorch_model\.bin are empty, such as a: DeepSpeed"
    ):
        open_checkpoint(tmp_path)


def test_a_distributed_checkpoint(tmp_path: Path) -> None:
    for name in (".metadata", "__0_0.distcp", "__1_0.distcp"):
        (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path, tmp_path / "__0_0.distcp"):
        with pytest.raises(
            CheckpointError, match=r"__0_0\.distcp is a shard of a distributed checkpoint; .*dcp_to_torch"
        ):
            open_checkpoint(path)


class _Foreign:
    """An object of a class that a file names and nobody has."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return torch.distributed._shard.sharded_tensor.api.ShardedTensor, ()


def test_a_sharded_tensor_is_refused_as_one(tmp_path: Path) -> None:
    import torch.distributed._shard.sharded_tensor.api

    torch.save({"a": _Foreign()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"holds shards of tensors \(torch\.distributed\._shard.*full_state_dict"):
        open_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("deepspeed.runtime.fp16.loss_scaler.LossScaler", "is a shard of a checkpoint of DeepSpeed"),
        ("bitsandbytes.nn.modules.Params4bit", "holds quantised weights"),
        ("torchao.dtypes.affine_quantized_tensor.AffineQuantizedTensor", "holds quantised weights"),
    ],
)
def test_classes_of_frameworks(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        check_object(tmp_path / "x.pt", name)
    check_object(tmp_path / "x.pt", "somebody.Else")
