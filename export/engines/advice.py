"""What a builder's errors mean for whoever exported the graph."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The parser's summary of a failure; the lines before it only lead there.
_PARSER = re.compile(
    r"In node -?\d+ with name: (?P<node>.*?) and operator: (?P<operator>\w+) \(\w+\): (?P<words>.*)", re.S
)
# The builder's words for a node that it found no kernel for, and any name that looks like one of ours.
_BUILDER = (
    re.compile(r"implementation for node (?P<node>.+?)\.?(?: due| Error|\)| In |$)"),
    re.compile(r"(?P<node>(?<![\w./])/(?:\w[\w.]*/)+\w[\w.]*)(?!\.cpp)"),
)
# A machine without a GPU says this after every error, and the source file of a message helps nobody.
_NOISE = (
    re.compile(r"\[checkMacros\.cpp::catchCudaError.*", re.S),
    re.compile(r"\s*In \w+ at /_src/\S+"),
)
_NO_REASON = re.compile(r"catchCudaError|^ModelImporter|^Could not parse|^Invalid Engine")

_ADVICE = (
    (
        ("datatypes: fp8", "FP8 support"),
        "FP8 is for compute capabilities from 8.9 on: export the bundle in int8 or fp16",
    ),
    (("out of memory", "OutOfMemory", "bad_alloc", "insufficient memory"), "free memory, or shorten --context"),
    (("zero_point", "zero point", "Scale coefficients"), "quantise it symmetrically, with scales above 0"),
    (("same input types", "same type"), "a Cast is missing; a bundle of --precision fp32 needs none"),
    (
        ("quantiz", "Quantiz", "int4", "INT4", "Int4", "FP8", "INT8", "Int8"),
        "leave the node in floating point (--precision fp16), or quantise it in a form that the library takes",
    ),
    (
        ("UNSUPPORTED_NODE", "Plugin not found", "no importer", "Unsupported", "not supported"),
        "rewrite the node with operators of opset 20 or older, or use a newer version of the library",
    ),
    (("profile", "dimension"), "the shapes do not go together: export the bundle again, or choose another --context"),
)
_DEFAULT = "try a bundle of --precision fp32, or another version of the library"


def node_of(errors: Sequence[str]) -> str:
    """The node that the errors name, with its operator if that is told; "" if they name none."""
    for error in errors:
        if match := _PARSER.search(error):
            return f"{match['node']} ({match['operator']})"
    for pattern in _BUILDER:
        for error in errors:
            if match := pattern.search(_quiet(error)):
                return match["node"]
    return ""


def reason(errors: Sequence[str]) -> str:
    """The error that says why, in one line."""
    for error in errors:
        if match := _PARSER.search(error):
            return _quiet(match["words"])
    telling = [error for error in errors if not _NO_REASON.search(error)]
    return _quiet((telling or list(errors) or ["no message"])[0])


def advice(words: str) -> str:
    """Which precision or rewrite to try."""
    return next((what for marks, what in _ADVICE if any(mark in words for mark in marks)), _DEFAULT)


def explain(graph: str, errors: Sequence[str]) -> str:
    """One sentence of a failed build: the graph, the node, the library's words, what to do."""
    node, words = node_of(errors), reason(errors)
    where = f"{graph}: node {node}" if node else graph
    return f"{where} cannot be compiled: {words[:300]}; {advice(f'{node} {words}')}"


def _quiet(error: str) -> str:
    for pattern in _NOISE:
        error = pattern.sub("", error)
    return " ".join(error.split())
