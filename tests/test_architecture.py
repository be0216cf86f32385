"""Imports point one way: from package to package, from room to room, and nowhere in a circle.

A room is a folder or a module directly in a package. Imports within functions and those for type checkers count like
any other: who reads a module has to know what it names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREFIX = "xsam_edge."
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

# All rooms of all packages, low to high: a room imports those before it.
ROOMS = {
    "runtime": (
        "errors",
        "arguments",
        "progress",
        "units",
        "cores",
        "user_cache",
        "turns",
        "bundle",
        "versions",
        "image",
        "results",
        "ros_messages",
        "tracking",
        "backends",
        "device",
        "chain",
        "language",
        "postprocess",
        "encoding",
        "held_image",
        "asking",
        "scene",
        "stream",
        "sinks",
        "model",
        "triton",
        "__init__",
        "label",
        "doctor",
        "ros",
        "cli",
        "serve",
    ),
    "calibration": (
        "__init__",
        "page",
        "coco_api",
        "data",
        "shapes",
        "open_data",
        "calibration_data",
        "evaluation",
        "tracking",
        "external_weights",
        "stored_weights",
        "instrumented",
        "staged",
        "statistics",
        "verify",
        "cli",
    ),
    "export": (
        "__init__",
        "staging",
        "memory",
        "checkpoint",
        "config",
        "tokenizer",
        "models",
        "reference",
        "precision",
        "graph",
        "bundle",
        "infer",
        "settings",
        "prepare",
        "quantization",
        "gate",
        "report",
        "quantize_plan",
        "quantize_options",
        "dialect",
        "quantize",
        "engines",
        "triton",
        "disk",
        "cli",
        "demo",
    ),
    "benchmarks": (
        "__init__",
        "environment",
        "watch",
        "measure",
        "chain",
        "inputs",
        "flops",
        "tiny_onnx",
        "peaks",
        "report",
        "tables",
        "markdown",
        "page",
        "batch",
        "restore",
        "peers",
        "energy",
        "fusion",
        "memory",
        "quantized",
        "calibration_study",
        "gpu_check",
        "gpu_peaks",
        "roofline",
        "pixels",
        "postprocess",
        "full_size_checkpoint",
        "verification",
        "serve_load",
        "cli",
    ),
}
PACKAGES = tuple(ROOMS)  # low to high

# What a function may import when it is called: packages of an extra, which an installation may lack or which take
# seconds to load.
LATE_PACKAGES = {
    "av",
    "cv2",
    "huggingface_hub",
    "mcap",
    "onnx",
    "onnxruntime",
    "onnxruntime_ep_nv_tensorrt_rtx",
    "polygraphy",
    "pyarrow",
    "pynvml",  # reads a GPU's power where it happens to be installed
    "rerun",
    "rosbags",
    "ray",
    "shtab",
    "supervision",
    "torch",
    "tqdm",  # comes with huggingface_hub
}
# Commands whose functions import modules of ours, each with the reason.
LATE_IMPORTS_OF_OURS = {
    "runtime.cli.node": "what needs rclpy, for which --help does not wait, and which an installation may lack",
    "benchmarks.gpu_check.__main__": "packing needs the extra `export`, which a machine that is checked may lack",
    "benchmarks.flops": "what reads graphs, with packages that a device with the runtime alone lacks",
    "benchmarks.cli": "what is measured with, for which a wrong option does not wait; torch needs the extra `export`",
    "export.engines.parity": "what runs graphs, which packages that a board may lack do, and --plan does not",
    "runtime.serve.cli": "what is served with, which needs the extra `serve`, and --help and a wrong option do not",
    "export.cli": "what loads torch, for which --help, --plan and a wrong option do not wait",
}


@dataclass(frozen=True)
class Import:
    """One import: ``target`` is a module of ours, without the common name, or a package of others."""

    importer: str
    target: str
    late: bool

    def __str__(self) -> str:
        return f"{self.importer} imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Every module by its name, such as ``runtime.image.resize``; packages by that of their folder."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def imports() -> tuple[Import, ...]:
    """All imports of all modules."""
    return tuple(item for name, path in modules().items() for item in _imports_of(name, ast.parse(path.read_text())))


def _imports_of(importer: str, tree: ast.AST) -> Iterator[Import]:
    functions = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    )
    late = {inner for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        for target in _targets(node):
            yield Import(importer, target, node in late)


def _targets(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (_own(alias.name) for alias in node.names)
        case ast.ImportFrom():
            assert not node.level and node.module, f"line {node.lineno}: imports name their package"
            inner = (_own(f"{node.module}.{alias.name}") for alias in node.names)
            yield from dict.fromkeys(name if name in modules() else _own(node.module) for name in inner)
        case ast.Call(func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[ast.Constant(name)]):
            yield _own(name)


def _own(name: str) -> str:
    return name.removeprefix(PREFIX)


def inner_imports() -> Iterator[Import]:
    """Imports of one of our modules by another."""
    return (item for item in imports() if item.target in modules())


def room(module: str) -> tuple[str, str]:
    """Package and room of a module."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0] or "__init__"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes each of which leads to all others of its group."""
    reached = {node: _reached(graph, node) for node in graph}
    groups = {frozenset({node, *(other for other in reached[node] if node in reached[other])}) for node in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        new = graph[left.pop()] - seen
        seen |= new
        left += new
    return seen


def test_packages_import_downwards() -> None:
    order = {package: place for place, package in enumerate(PACKAGES)}
    upwards = [str(item) for item in inner_imports() if order[room(item.target)[0]] > order[room(item.importer)[0]]]
    assert upwards == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_place(package: str) -> None:
    assert {name for owner, name in map(room, modules()) if owner == package} == set(ROOMS[package])
    assert len(set(ROOMS[package])) == len(ROOMS[package])


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_downwards(package: str) -> None:
    order = {(package, name): place for place, name in enumerate(ROOMS[package])}
    inside = [item for item in inner_imports() if {room(item.importer)[0], room(item.target)[0]} == {package}]
    assert [str(item) for item in inside if order[room(item.target)] > order[room(item.importer)]] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules() if room(name)[0] == package}
    for item in inner_imports():
        if {item.importer, item.target} <= graph.keys():
            graph[item.importer].add(item.target)
    assert circles(graph) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set()}) == [["a", "b", "c"]]


def test_functions_import_packages_of_extras_only() -> None:
    late = {item for item in imports() if item.late and item.target.partition(".")[0] not in LATE_PACKAGES}
    assert sorted(str(item) for item in late if item.importer not in LATE_IMPORTS_OF_OURS) == []
    assert {item.importer for item in late} == set(LATE_IMPORTS_OF_OURS)


def test_the_list_of_late_packages_is_no_longer_than_needed() -> None:
    used = {item.target.partition(".")[0] for item in imports() if item.late}
    assert LATE_PACKAGES - used == set()
