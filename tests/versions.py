"""The runtime's tests on the oldest versions that ``pyproject.toml`` allows, and on a newer Python with the newest.

    python -m tests.versions FOLDER

exports the bundles that these tests need with the Python that it runs on, then makes an environment in FOLDER for each
other Python and runs ``tests/runtime`` there. Ends with 1 where a test failed. A Python that is neither on PATH nor in
pyenv is named and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """A Python, and the packages that the runtime needs there."""

    name: str
    python: str
    packages: tuple[str, ...]


ENVIRONMENTS = (
    Environment("lowest", "3.10", ("numpy==1.26.0", "pillow==10.3.0", "tokenizers==0.21.0", "onnxruntime==1.20.0")),
    # JetPack 6 has Python 3.10, for which there is no newer ONNX Runtime.
    Environment("jetpack6", "3.10", ("numpy==1.26.4", "pillow", "tokenizers", "onnxruntime==1.23.2")),
    Environment("newest", "3.13", ("numpy", "pillow", "tokenizers", "onnxruntime")),
)


def find_python(version: str) -> str | None:
    """An interpreter "3.x" of PATH or pyenv that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    return None


def run_tests(environment: Environment, python: str, folder: Path, bundles: Path) -> bool:
    """Whether the runtime's tests pass in an environment, which is made unless it is there."""
    home = folder / environment.name
    own = home / "bin" / "python"
    marker, wanted = home / ".packages", "\n".join(environment.packages)
    if not marker.is_file() or marker.read_text() != wanted:
        subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "pytest>=8", *environment.packages], check=True)
        marker.write_text(wanted)
    variables = {**os.environ, "PYTHONPATH": str(ROOT / ".src"), "XSAM_TEST_BUNDLES": str(bundles)}
    listed = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in "
    listed += "('onnxruntime', 'numpy', 'pillow', 'tokenizers')), sep=', ')"
    print(f"== {environment.name}: Python {environment.python}", flush=True)
    subprocess.run([str(own), "-c", listed], check=True)
    tests = [str(own), "-m", "pytest", "-m", "not slow and not gpu and not engines", "tests/runtime"]
    return subprocess.run(tests, cwd=ROOT, env=variables).returncode == 0


def export_bundles(bundles: Path) -> None:
    """Export anew what the tests read."""
    shutil.rmtree(bundles, ignore_errors=True)
    bundles.mkdir(parents=True)
    variables = {**os.environ, "XSAM_EXPORT_BUNDLES": str(bundles)}
    subprocess.run([sys.executable, "-m", "pytest", "tests/exporting.py"], cwd=ROOT, check=True, env=variables)


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    folder = Path(arguments[0]).resolve()
    export_bundles(folder / "bundles")
    passed = True
    for environment in ENVIRONMENTS:
        python = find_python(environment.python)
        if python is None:
            print(f"== {environment.name}: Python {environment.python} is neither on PATH nor in pyenv, not tested")
            continue
        passed &= run_tests(environment, python, folder, folder / "bundles")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
