"""Names that training frameworks wrapped, in every nesting."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from xsam_edge.export.checkpoint.checkpoint import open_checkpoint
from xsam_edge.export.checkpoint.wrappers import unwrap
from xsam_edge.runtime.errors import CheckpointError

PLAIN = ("llm.model.layers.0.mlp.down_proj.weight", "segmentor.pixel_decoder.level_embed", "bg_embeds.weight")
WRAPPERS = (
    "module.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
    "_forward_module.",
    "model.",
)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_any_nesting_before_a_name(depth: int) -> None:
    for prefix in itertools.product(WRAPPERS, repeat=depth):
        wrapped = {"".join(prefix) + name: name for name in PLAIN}
        assert unwrap(wrapped) == wrapped, prefix


def test_modules_that_were_wrapped_alone() -> None:
    """As by torch.compile of a part, FSDP of every layer, and activation checkpointing inside of that."""
    names = {
        "llm._orig_mod.model.layers.0.mlp.down_proj.weight": PLAIN[0],
        "module.segmentor._fsdp_wrapped_module.pixel_decoder._checkpoint_wrapped_module.level_embed": PLAIN[1],
        "bg_embeds.weight": PLAIN[2],
    }
    assert unwrap(names) == names


def test_true_names_stay(phi3_reference: Path) -> None:
    names = set(open_checkpoint(phi3_reference))
    assert unwrap(names) == {name: name for name in names}
    language_model = ("model.layers.0.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight")
    assert unwrap(language_model) == {name: name for name in language_model}, "another model, of which nothing is taken"
    assert unwrap(["module"]) == {"module": "module"}


def save(path: Path, names: tuple[str, ...]) -> Path:
    torch.save({name: torch.full((2,), float(number)) for number, name in enumerate(names)}, path)
    return path


def test_some_names_of_a_file_may_be_wrapped(tmp_path: Path) -> None:
    names = ("module._orig_mod.llm.model.norm.weight", "segmentor.pixel_decoder.level_embed")
    checkpoint = open_checkpoint(save(tmp_path / "x.pt", names))
    assert set(checkpoint) == {"llm.model.norm.weight", "segmentor.pixel_decoder.level_embed"}
    assert checkpoint.read("llm.model.norm.weight").tolist() == [0, 0]


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    names = ("module.llm.model.norm.weight", "llm.model.norm.weight")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(save(tmp_path / "x.pt", names))
    assert str(caught.value) == (
        f"{tmp_path / 'x.pt'} has {names[0]} and {names[1]}, which are both {names[1]}: the checkpoint mixes two "
        "models or formats; save the state_dict of one"
    )
