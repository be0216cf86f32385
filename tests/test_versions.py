"""The versions that are said to be tested are one table: that of the code, which load and the doctor read."""

from __future__ import annotations

import re
from pathlib import Path

import tomllib

from tests.versions import ENVIRONMENTS, LOWEST, NEWEST, unlisted
from xsam_edge.runtime.versions import COMPILED, TESTED, parse

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "runtime/README.md").read_text()


def requirements(*names: str) -> dict[str, str]:
    """Package -> lower bound, or the one version, of some requirements of the project."""
    listed = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in names)]
    found = (re.fullmatch(r"([\w-]+)[>=]=([\d.]+)", line) for lines in listed for line in lines)
    return {match[1]: match[2] for match in found if match}


def rows() -> dict[str, dict[str, str]]:
    """The table of the README: name of an environment -> package -> version, "" where it is the newest."""
    table = README[README.index("| | Python |") :].split("\n\n")[0].splitlines()
    header, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    packages = [next(key for key, tested in TESTED.items() if tested.name == name) for name in header[1:]]
    return {line[0]: dict(zip(packages, line[1:], strict=True)) for line in lines}


def test_the_lowest_are_what_may_be_installed() -> None:
    allowed = requirements("cpu") | {"python": PROJECT["requires-python"].removeprefix(">=")}
    assert allowed.keys() == TESTED.keys()
    assert {name: parse(version) for name, version in allowed.items()} == {
        name: parse(tested.lowest) for name, tested in TESTED.items()
    }
    assert requirements("gpu")["onnxruntime-gpu"] == allowed["onnxruntime"]


def test_the_lowest_and_the_newest_are_what_is_tested() -> None:
    assert {LOWEST, NEWEST} <= {*ENVIRONMENTS}
    pins = {**dict(package.split("==") for package in LOWEST.packages), "python": LOWEST.python}
    assert pins == {name: tested.lowest for name, tested in TESTED.items()}
    assert NEWEST.python == TESTED["python"].newest
    assert {*NEWEST.packages, "python"} == TESTED.keys()


def test_the_page_says_the_same() -> None:
    found = rows()
    assert found.keys() == {"oldest", "JetPack 6", "newest"}
    assert found["oldest"] == {name: tested.lowest for name, tested in TESTED.items()}
    assert found["newest"] == {name: tested.newest for name, tested in TESTED.items()}
    (jetpack,) = (environment for environment in ENVIRONMENTS if environment.name == "jetpack6")
    pins = {name: version or "newest" for name, _, version in (package.partition("==") for package in jetpack.packages)}
    assert found["JetPack 6"] == {"python": jetpack.python, **pins}


def test_the_compiler_of_engines_is_that_of_the_tests() -> None:
    assert {name: requirements("dev")[name] for name in COMPILED} == COMPILED
    assert all(f"TensorRT-RTX {version}" in README for version in COMPILED.values())


def test_a_newer_version_than_the_table_has_is_named() -> None:
    tested = {name: tested.newest for name, tested in TESTED.items()}
    assert unlisted(tested) == []
    (line,) = unlisted({**tested, "numpy": "99.0"})
    assert line.startswith(f"numpy 99.0 is newer than {TESTED['numpy'].newest}, the newest that was tested: ")
