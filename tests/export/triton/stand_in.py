"""What Triton's Python backend gives a model, as far as ours takes it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def parameters(repository: Path) -> dict[str, str]:
    """The parameters of a repository's ``config.pbtxt``."""
    text = (repository / "xsam" / "config.pbtxt").read_text(encoding="utf-8")
    found = re.findall(r'^parameters { key: "(\w+)" value: { string_value: (".*") } }$', text, re.MULTILINE)
    return {name: json.loads(value) for name, value in found}


@dataclass(frozen=True)
class Tensor:
    """A named array."""

    of: str
    array: Array

    def name(self) -> str:
        return self.of

    def as_numpy(self) -> Array:
        return self.array


@dataclass(frozen=True)
class Request:
    """Inputs, and the outputs that are wanted."""

    tensors: Mapping[str, Array]
    wanted: Collection[str]

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.tensors.items()]

    def requested_output_names(self) -> Collection[str]:
        return self.wanted


@dataclass(frozen=True)
class TritonError:
    """An error of one request."""

    message: str
    code: str
    INVALID_ARG: ClassVar[str] = "invalid"
    INTERNAL: ClassVar[str] = "internal"


@dataclass(frozen=True)
class InferenceResponse:
    """Outputs, or an error."""

    outputs: Sequence[Tensor] = ()
    error: TritonError | None = None


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    """A model that cannot be loaded."""


def tensor(name: str, array: Array) -> Tensor:
    """As the backend makes one, for whose shared memory an array may be too large."""
    if array.nbytes > 1 << 24:
        raise TritonModelException("Failed to increase the shared memory pool size")
    return Tensor(name, np.array(array))


def utils() -> ModuleType:
    """The module ``triton_python_backend_utils``."""
    module = ModuleType("triton_python_backend_utils")
    named: dict[str, Any] = {"Tensor": tensor, "InferenceResponse": InferenceResponse, "TritonError": TritonError}
    for name, value in {**named, "TritonModelException": TritonModelException}.items():
        setattr(module, name, value)
    return module
