"""Which files of a folder are one checkpoint: repositories hold the same weights as safetensors and as ``.bin``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from xsam_edge.export.checkpoint.checkpoint import CHECKPOINT_SUFFIXES, INDEX_SUFFIX

# Safetensors first, which need no pickle to be read; of each kind one file before shards.
_HEADS = (
    "model.safetensors",
    "state_dict.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class WeightForm:
    """One form of the weights: the file to open, and every file that it takes, names in their folder."""

    head: str
    files: tuple[str, ...]


def weight_forms(names: Collection[str], shards: Callable[[str], Collection[str]]) -> Iterator[WeightForm]:
    """Every form of the weights of a folder, the best first; each holds all of them.

    Args:
        names: of the folder's files.
        shards: names the files of an index; may raise.
    """
    heads = [name for name in _HEADS if name in names]
    for head in heads:
        yield WeightForm(head, (head, *sorted(shards(head))) if head.endswith(INDEX_SUFFIX) else (head,))
    if not heads:
        for name in sorted(names):
            if name.endswith(CHECKPOINT_SUFFIXES):
                yield WeightForm(name, (name,))
