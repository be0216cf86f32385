"""Read sizes off a checkpoint's tensor shapes, with errors that name the tensor."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from xsam_edge.runtime.errors import CheckpointError


class Shapes:
    """Tensor name -> shape, asked with expectations."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """Return a tensor's shape. Raises CheckpointError when it is missing, empty or of another rank."""
        shape = self._shapes.get(name)
        if shape is None:
            raise CheckpointError(f"the checkpoint has no {name}: incomplete, or not an X-SAM model of a known variant")
        if len(shape) != rank or 0 in shape:
            raise CheckpointError(f"{name} has shape {tuple(shape)}; expected {rank} dimensions, none empty")
        return tuple(shape)

    def layers(self, stem: str) -> int:
        """Count the members of ``stem.0``, ``stem.1``, ... Raises CheckpointError when there is none or a gap."""
        member = re.compile(re.escape(stem) + r"\.(\d+)\.")
        indices = {int(match[1]) for name in self._shapes if (match := member.match(name))}
        if not indices or indices != set(range(len(indices))):
            gap = next(index for index in range(len(indices) + 1) if index not in indices)
            raise CheckpointError(f"the checkpoint has no {stem}.{gap}: incomplete")
        return len(indices)


def divide(total: int, by: int, what: str) -> int:
    """Divide sizes that must divide. Raises CheckpointError that says ``what`` is odd."""
    if by < 1 or total % by:
        raise CheckpointError(
            f"{what}: {total} cannot be split by {by}; check the model's inits, --variant and --config"
        )
    return total // by


def square(total: int, what: str) -> int:
    """Root of a square number. Raises CheckpointError that says ``what`` is no square."""
    root = math.isqrt(total)
    if root * root != total:
        raise CheckpointError(f"{what}: {total} is no square; only square images are supported")
    return root


def agree(part: str, weights: Mapping[str, Any], told: Mapping[str, Any], source: str) -> None:
    """Compare sizes of the weights with those that a file tells; keys that it lacks or leaves null pass.

    Raises CheckpointError that names the first size they disagree on.
    """
    for key, value in weights.items():
        if told.get(key) is not None and told[key] != value:
            raise CheckpointError(
                f"{part}: {key} is {value} in the weights, {told[key]} in {source}; use the files it was trained with"
            )
