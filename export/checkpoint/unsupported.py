"""Checkpoints that hold something other than a model's own weights, told by the names in them, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xsam_edge.runtime.errors import CheckpointError

_SHARDS = (
    "gather it where it was trained: `zero_to_fp32.py` beside it writes a pytorch_model.bin, or train on with "
    "stage3_gather_16bit_weights_on_model_save"
)
_FULL = (
    "save it whole where it was trained: torch.distributed.checkpoint.state_dict.get_model_state_dict with "
    "StateDictOptions(full_state_dict=True), or FSDP's FULL_STATE_DICT; of a folder of *.distcp, "
    "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt` makes one"
)
_MERGE = "merge them into the weights (PEFT: model.merge_and_unload()) and save the state_dict of that model"
_DEQUANTIZE = (
    "give the checkpoint from before it was quantised, or call dequantize() on the loaded model and save that; "
    "xsam-export quantises by itself (--precision int8 or int4)"
)


@dataclass(frozen=True)
class _Form:
    """What a checkpoint is that has a name which ``pattern`` finds, and what to do with it."""

    what: str
    pattern: str
    advice: str


_FORMS = (
    _Form(
        "adapters of PEFT, such as LoRA,",
        r"(^|\.)(base_model\.model|base_layer|original_module|modules_to_save)\."
        r"|(^|[._])lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\.|$)"
        r"|(^|\.)(ia3_l|hada_w\d_[ab]|lokr_w\d(_[ab])?|oft_r|oft_s|vera_lambda_[bd])(\.|$)",
        _MERGE,
    ),
    _Form("flat parameters of FSDP", r"(^|\.)_?flat_param(_\d+)?$", _FULL),
    _Form(
        "weights that bitsandbytes quantised",
        r"\.(SCB|CB|weight_format)$|\.(absmax|quant_map|nested_absmax|nested_quant_map)$|\.quant_state\.bitsandbytes__",
        _DEQUANTIZE,
    ),
    _Form("weights that GPTQ or AWQ quantised", r"\.(qweight|qzeros|g_idx)$", _DEQUANTIZE),
    _Form(
        "quantised weights",
        r"\.(weight_packed|weight_scale|weight_scale_inv|weight_zero_point|input_scale|W_q|_packed_params(\..*)?)$",
        _DEQUANTIZE,
    ),
)
# Files of DeepSpeed: the optimizer's parts, and the models' of stage 3, whose weights lie in the former.
_ZERO_FILE = re.compile(r"(bf16_)?zero_pp_rank_\d+_.*_states\.pt|.*_optim_states\.pt")
_DISTRIBUTED_FILE = re.compile(r".*\.distcp|\.metadata")


def check_names(path: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError if a file's names of tensors are those of adapters, shards or quantised weights."""
    names = list(names)
    for form in _FORMS:
        found = [name for name in names if re.search(form.pattern, name)]
        if found:
            raise CheckpointError(f"{path} holds {form.what} as {found[0]} ({len(found)} names in all); {form.advice}")


def check_sizes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if most tensors are empty, as of a model that was saved by one of several processes."""
    empty = [name for name, shape in shapes.items() if 0 in shape]
    if 2 * len(empty) > len(shapes):
        raise CheckpointError(
            f"{len(empty)} of {len(shapes)} tensors in {path} are empty, such as {empty[0]}: DeepSpeed ZeRO stage 3 "
            f"had their values in shards; {_SHARDS}"
        )


def check_file(path: Path) -> None:
    """Raise CheckpointError for a file that is by its name a shard of a framework."""
    if _ZERO_FILE.fullmatch(path.name):
        raise CheckpointError(f"{path} is a shard of a checkpoint of DeepSpeed ZeRO; {_SHARDS}")
    if _DISTRIBUTED_FILE.fullmatch(path.name):
        raise CheckpointError(f"{path} is a shard of a distributed checkpoint; {_FULL}")


def check_object(path: Path, name: str) -> None:
    """Raise CheckpointError for a file with an object of a class that shards are made of; ``name`` is the class's."""
    if name.startswith("deepspeed."):
        raise CheckpointError(f"{path} is a shard of a checkpoint of DeepSpeed ({name}); {_SHARDS}")
    if name.startswith("torch.distributed."):
        raise CheckpointError(f"{path} holds shards of tensors ({name}); {_FULL}")
    if name.startswith(("bitsandbytes.", "torchao.")):
        raise CheckpointError(f"{path} holds quantised weights ({name}); {_DEQUANTIZE}")
