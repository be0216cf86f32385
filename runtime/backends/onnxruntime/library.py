"""ONNX Runtime's package: which release it is, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.versions import Version, parse, version_of

_FATAL, _WARNING = 4, 2
_EMPTY_ARGMAX = Version(1, 32)


def import_library() -> Any:
    """The module ``onnxruntime``.

    Raises:
        BackendError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise BackendError(
            "onnxruntime is not installed; run `pip install xsam-edge[cpu]`, or `xsam-edge[gpu]` for CUDA"
        ) from None
    return onnxruntime


def is_since(ort: Any, release: Version) -> bool:
    """Whether ``ort`` is a release or a later one; what cannot be read is taken for an older one."""
    version = parse(version_of(ort))
    return version is not None and version >= release


def runs_without_logits(ort: Any) -> bool:
    """Whether ``ort`` takes the language model's logits of no row: ArgMax over none has the shape that it should."""
    return is_since(ort, _EMPTY_ARGMAX)


# What stands in front of a message of ONNX Runtime, once for each function that passed it on.
_PREFIX = re.compile(r".*\[ONNXRuntimeError\] : \d+ : \w+ : ")


def one_line(error: Exception) -> str:
    """A library's message, which may be of many lines, cut to what a user can read."""
    return " ".join(str(error).split())[:300]


def reason(error: Exception) -> str:
    """The end of ONNX Runtime's message, which says what is wrong, without the functions that passed it on."""
    return _PREFIX.sub("", " ".join(str(error).split()))[:300]


@contextmanager
def quiet(ort: Any) -> Iterator[None]:
    """Keep what ONNX Runtime logs of libraries and devices off stderr: what matters of it is raised.

    Its level cannot be read; the one that it is left at is its own default.
    """
    ort.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        ort.set_default_logger_severity(_WARNING)
