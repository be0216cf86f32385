"""Which versions of Python and of its packages the runtime was tested with, and what is said of any other.

``make test-lowest`` runs the runtime's tests on the lowest and on the newest of ``TESTED``. A patch release of a minor
release that was tested, or that lies between two, counts as tested.
"""

from __future__ import annotations

import platform
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xsam_edge.runtime.bundle.engine_info import MODULES as ENGINE_MODULES


class UntestedVersionWarning(RuntimeWarning):
    """The runtime works with a version of Python or of a package that it was not tested with."""


class Version(NamedTuple):
    """A release, in order. What came before a release (dev, alpha, beta, candidate) is not ``final``."""

    major: int
    minor: int
    patch: int = 0
    final: bool = True


@dataclass(frozen=True)
class Tested:
    """The lowest and the newest version of something that the tests ran on."""

    name: str
    lowest: str
    newest: str


#: By what they are installed as.
TESTED: Mapping[str, Tested] = {
    "python": Tested("Python", "3.10", "3.13"),
    "onnxruntime": Tested("ONNX Runtime", "1.20.0", "1.32.0"),
    "numpy": Tested("NumPy", "1.26.0", "2.5.5"),
    "pillow": Tested("Pillow", "10.3.0", "13.0.0"),
    "tokenizers": Tested("tokenizers", "0.21.0", "0.23.3"),
}
#: Flavours of TensorRT whose compiler the tests run, on a machine without a GPU. No engine of any flavour was ever run.
COMPILED: Mapping[str, str] = {"tensorrt-rtx": "1.7.1.116"}

# What every bundle needs, by the modules that are imported: builds of vendors are installed under other names.
_MODULES = {"numpy": "numpy", "pillow": "PIL", "tokenizers": "tokenizers"}
_LIBRARIES = {"onnxruntime": "onnxruntime", **ENGINE_MODULES}
_ENGINE_NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_NUMBER = "([0-9]{1,9})"
_RELEASE = re.compile(rf"\s*v?(?:[0-9]+!)?{_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?(?:\.[0-9]+)*", re.IGNORECASE)
_EARLY = re.compile(r"[-_.]?(?:alpha|a|beta|b|preview|pre|rc|c|dev)[-_.]?[0-9]*(?![a-z])", re.IGNORECASE)

_told: set[tuple[str, str]] = set()


def parse(text: str) -> Version | None:
    """Read a version in the form of PEP 440 or of a vendor, such as 1.23.0+nv, 1.19.0rc1 or 10.3.0.26.

    Returns None for what begins with no number.
    """
    release = _RELEASE.match(text)
    if release is None:
        return None
    major, minor, patch = (int(number or 0) for number in release.groups())
    return Version(major, minor, patch, final=_EARLY.match(text, release.end()) is None)


def version_of(module: object) -> str:
    """The version that a module says it has, "unknown" where it says none."""
    return str(getattr(module, "__version__", "unknown"))


def loaded(library: str | None = None) -> Iterator[tuple[str, str]]:
    """Name and version of Python, of the packages that every bundle needs, and of the ``library`` that runs its graphs.

    ``library`` is "onnxruntime" or a flavour of TensorRT. What was not imported is left out.
    """
    yield "python", platform.python_version()
    for package, name in {**_MODULES, **({library: _LIBRARIES[library]} if library else {})}.items():
        if (module := sys.modules.get(name)) is not None:
            yield package, version_of(module)


def untested(package: str, version: str) -> str:
    """What is to be said of a version, to follow "is" in a sentence; "" for one that was tested."""
    if package in ENGINE_MODULES:
        return _untested_engines(package)
    tested, found = TESTED[package], parse(version)
    lowest, newest = parse(tested.lowest), parse(tested.newest)
    assert lowest and newest
    take = f"should anything fail, {'use' if package == 'python' else 'install'}"
    if found is None:
        return f"no version that can be read; {take} one from {tested.lowest} to {tested.newest}, which were tested"
    if found < lowest:
        return f"older than {tested.lowest}, the oldest that was tested; {take} one from there to {tested.newest}"
    if found[:2] > newest[:2]:
        return f"newer than {tested.newest}, the newest that was tested; {take} one from {tested.lowest} to there"
    return ""


def _untested_engines(flavour: str) -> str:
    if flavour in COMPILED:
        known = f"tests compile engines with {COMPILED[flavour]} and run none"
    else:
        known = "tests neither compile engines with it nor run them"
    return f"untested: {known}; compare masks with `xsam-eval ENGINES --against GRAPHS --data FOLDER`"


def warn_of_untested(library: str) -> None:
    """Warn of every version in use that was not tested, once in a process, as from the caller's caller.

    ``library`` runs the graphs: "onnxruntime" or a flavour of TensorRT.
    """
    for package, version in loaded(library):
        found = package, version
        if found not in _told and (clause := untested(package, version)):
            _told.add(found)
            name = TESTED[package].name if package in TESTED else _ENGINE_NAMES[package]
            warnings.warn(f"{name} {version} is {clause}", UntestedVersionWarning, stacklevel=3)
