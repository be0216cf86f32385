"""What tells the sizes of a model: its tensors, the files of its parts, the variant, and ``--config``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from xsam_edge.export.config.inits import Part, find_part
from xsam_edge.export.config.overrides import Overrides
from xsam_edge.export.config.sizes import (
    ConnectorConfig,
    LLMConfig,
    MaskDecoderConfig,
    MaskEncoderConfig,
    VisionEncoderConfig,
)
from xsam_edge.export.config.tensor_shapes import Shapes
from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.errors import InputError

T = TypeVar("T", LLMConfig, VisionEncoderConfig, MaskEncoderConfig, ConnectorConfig, MaskDecoderConfig)


@dataclass(frozen=True)
class Evidence:
    """Of one checkpoint. Weights decide what they show, then ``overrides``, the files in ``inits``, the variant."""

    tensors: Shapes
    variant: Variant
    inits: Path | None
    overrides: Overrides

    def folder(self, part: Part) -> Path | None:
        """The folder of a part's files, None without one. Raises CheckpointError as ``find_part``."""
        return None if self.inits is None else find_part(self.inits, part, self.variant)

    def chosen(self, part: str) -> Mapping[str, Any]:
        """What ``--config`` sets of a part: field -> value."""
        return self.overrides.get(part, {})

    def chosen_keys(self, part: str, keys: Mapping[str, str]) -> dict[str, Any]:
        """The same of some fields, by what ``keys`` calls them: key of a file -> value."""
        chosen = self.chosen(part)
        return {key: chosen[field] for field, key in keys.items() if field in chosen}

    def settle(self, part: str, config: T, shown: Collection[str]) -> T:
        """Set what ``--config`` chose of a part.

        Raises:
            InputError: it contradicts a field of ``shown``, which the weights tell.
        """
        chosen = self.chosen(part)
        for field in shown:
            if field in chosen and chosen[field] != (value := getattr(config, field)):
                raise InputError(
                    f"{part}.{field} is {_text(value)} in the weights, {_text(chosen[field])} in --config; leave it out"
                )
        return replace(config, **chosen)


def _text(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
