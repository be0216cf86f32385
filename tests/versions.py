"""The runtime's tests on the oldest versions that ``pyproject.toml`` allows, and on a newer Python with the newest.

    python -m tests.versions FOLDER

exports the bundles that these tests need with the Python that it runs on, meanwhile makes an environment in FOLDER for
each other Python, and then runs ``tests/runtime`` in all of them, as many at once as there are cores for. The wheel is
built too, installed alone with the extra ``cpu`` on the oldest Python, and every command run. Ends with 1 where a test
failed. Newer versions than ``xsam_edge.runtime.versions`` says were tested are named, and so is a Python
that is neither on PATH nor in pyenv, which is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lean import HELP, cases, fault
from xsam_edge.runtime.versions import TESTED, untested

ROOT = Path(__file__).parents[1]
PACKAGES = tuple(name for name in TESTED if name != "python")
QUICK = " and ".join(f"not {kind}" for kind in ("slow", "gpu", "engines", "browser", "ray", "triton", "ros"))
CORES = 2  # that tests of one environment use: models have two threads, and some tests limit what takes how long


@dataclass(frozen=True)
class Environment:
    """A Python, and the packages that the runtime needs there."""

    name: str
    python: str
    packages: tuple[str, ...]


LOWEST = Environment("lowest", TESTED["python"].lowest, tuple(f"{name}=={TESTED[name].lowest}" for name in PACKAGES))
# JetPack 6 has Python 3.10, for which there is no newer ONNX Runtime.
JETPACK = Environment("jetpack6", "3.10", ("onnxruntime==1.23.2", "numpy==1.26.4", "pillow", "tokenizers"))
NEWEST = Environment("newest", TESTED["python"].newest, PACKAGES)
ENVIRONMENTS = (LOWEST, JETPACK, NEWEST)


@dataclass(frozen=True)
class Run:
    """What tests of an environment gave: their output, and whether all passed."""

    passed: bool
    output: str


def find_python(version: str) -> str | None:
    """An interpreter "3.x" of PATH or pyenv that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    return None


def make(environment: Environment, python: str, folder: Path) -> Path:
    """The interpreter of an environment in a folder, which is made unless it is there."""
    home = folder / environment.name
    own = home / "bin" / "python"
    marker, wanted = home / ".packages", "\n".join((python, *environment.packages))
    if not marker.is_file() or marker.read_text() != wanted:
        subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "pytest>=8", *environment.packages], check=True)
        marker.write_text(wanted)
    return own


def installed(python: Path) -> Mapping[str, str]:
    """Package -> version of what the runtime needs."""
    program = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {PACKAGES}}}))"
    done = subprocess.run([str(python), "-c", program], check=True, stdout=subprocess.PIPE)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def unlisted(versions: Mapping[str, str]) -> list[str]:
    """A line for each version that the table of tested ones leaves out."""
    return [
        f"{name} {version} is {clause}: if its tests pass, write it into runtime/versions.py and runtime/README.md"
        for name, version in versions.items()
        if (clause := untested(name, version).partition(";")[0])
    ]


def run_tests(environment: Environment, made: Future[Path], bundles: Path) -> Run:
    """Run the runtime's tests in an environment, once it is made."""
    python = made.result()
    versions = installed(python)
    title = f"== {environment.name}: Python {environment.python}, "
    title += ", ".join(f"{name} {version}" for name, version in versions.items())
    variables = {**os.environ, "PYTHONPATH": str(ROOT / ".src"), "XSAM_TEST_BUNDLES": str(bundles)}
    tests = [str(python), "-m", "pytest", "-m", QUICK, "tests/runtime"]
    done = subprocess.run(tests, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return Run(done.returncode == 0, "\n".join((title, done.stdout.rstrip(), *unlisted(versions))))


def _outside() -> dict[str, str]:
    """The variables of a process that does not see this tree."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def make_lean(python: str, folder: Path) -> Path:
    """The folder of commands of an environment with the wheel of this tree and one backend, made anew."""
    home, wheels = folder / "lean", folder / "wheel"
    for stale in (wheels, ROOT / "build"):  # setuptools would build of what it built before
        shutil.rmtree(stale, ignore_errors=True)
    subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], check=True, env=_outside())
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", f"{wheel}[cpu]"], check=True, env=_outside())
    return home / "bin"


def run_commands(made: Future[Path], bundles: Path, folder: Path) -> Run:
    """Run every command of the installed wheel, outside of this tree."""
    commands = made.result()

    def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command, *options = arguments
        program = [str(commands / command), *options]
        return subprocess.run(program, cwd=folder, env=_outside(), capture_output=True, text=True)

    output = folder / "lean-output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    tried = [*HELP, *cases(bundles / "phi3", ROOT / "tests" / "data" / "golden-phi3", output)]
    faults = [text for case in tried if (text := fault(case, run))]
    title = f"== the wheel with the extra cpu: {len(tried) - len(faults)} of {len(tried)} commands end as they should"
    return Run(not faults, "\n".join((title, *faults)))


def export_bundles(bundles: Path) -> None:
    """Export anew what the tests read: the demo model beside the others, with which it shares no trace.

    Raises:
        CalledProcessError: an export failed; its output was printed.
    """
    shutil.rmtree(bundles, ignore_errors=True)
    bundles.mkdir(parents=True)
    variables = {**os.environ, "XSAM_EXPORT_BUNDLES": str(bundles)}
    command = [sys.executable, "-m", "pytest", "tests/exporting.py", "-k"]
    exports = [subprocess.Popen([*command, some], cwd=ROOT, env=variables) for some in ("shapes", "not shapes")]
    for code, export in [(export.wait(), export) for export in exports]:
        if code:
            raise subprocess.CalledProcessError(code, export.args)


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    options = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__.partition("\n")[0])
    options.add_argument("folder", type=Path, help="for environments and bundles, which stay there")
    folder = options.parse_args(arguments).folder.resolve()
    bundles = folder / "bundles"
    pythons = {environment: find_python(environment.python) for environment in ENVIRONMENTS}
    for environment in [environment for environment, python in pythons.items() if python is None]:
        print(f"== {environment.name}: Python {environment.python} is neither on PATH nor in pyenv, not tested")
    passed = True
    at_once = max(1, (os.cpu_count() or 1) // CORES)
    with ThreadPoolExecutor(1) as maker, ThreadPoolExecutor(at_once) as runner:
        made = {
            environment: maker.submit(make, environment, python, folder)
            for environment, python in pythons.items()
            if python is not None
        }
        oldest = pythons[LOWEST]
        lean = None if oldest is None else maker.submit(make_lean, oldest, folder)
        export_bundles(bundles)
        for run in runner.map(lambda item: run_tests(*item, bundles), made.items()):
            print(run.output, flush=True)
            passed &= run.passed
        if lean is not None:
            run = run_commands(lean, bundles, folder)
            print(run.output, flush=True)
            passed &= run.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
