"""A real ``tritonserver``, that of the package nvidia-pytriton, and an environment for it.

    python -m tests.triton_server FOLDER

makes an environment in FOLDER, exports the demo model with the Python that this runs on, and runs the tests that are
marked ``triton`` in the environment. Where the server cannot run it says so in one line, and ends with 0.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from xsam_edge.runtime.units import duration

ROOT = Path(__file__).parents[1]
# The wheel's own requirements are those of its Python API, which nobody needs here; NumPy is limited by its backend.
PACKAGES = ("numpy<2", "tritonclient[http,grpc]>=2.50", "pytest>=8")
SERVER = "nvidia-pytriton==0.7.0"
_START = 120.0  # seconds


@dataclass(frozen=True)
class Server:
    """A server that runs: its process, its addresses and what it writes."""

    process: int
    http: str
    grpc: str
    log: Path

    def children(self) -> set[int]:
        """Processes of its models' instances."""
        tasks = Path(f"/proc/{self.process}/task").iterdir()
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def missing() -> str:
    """Why the server cannot run with this Python; "" where it can."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("pytriton") is None:
        return f"the package {SERVER} is not installed"
    library = f"libpython{version}.so.1.0"
    try:
        ctypes.CDLL(library)
    except OSError:
        return f"{library} is missing, which Debian's libpython{version} brings"
    return ""


def _ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def serve(repository: Path, folder: Path, models: Sequence[str]) -> Iterator[Server]:
    """Run a server with some models of a repository loaded; others may be loaded by clients."""
    spec = importlib.util.find_spec("pytriton")
    assert spec is not None and spec.origin is not None
    home, libraries = Path(spec.origin).parent / "tritonserver", Path(spec.origin).parents[1] / "nvidia_pytriton.libs"
    backends, log = folder / "backends", folder / "server.log"
    shutil.copytree(home / "backends", backends)
    stub = f"python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy(home / stub, backends / "python")
    http, grpc, metrics = _ports(3)
    command = [str(home / "bin" / "tritonserver"), "--model-repository", str(repository)]
    command += ["--backend-directory", str(backends), "--model-control-mode", "explicit"]
    command += ["--http-address", "127.0.0.1", "--http-port", str(http), "--grpc-address", "127.0.0.1"]
    command += ["--grpc-port", str(grpc), "--metrics-port", str(metrics)]
    command += [part for model in models for part in ("--load-model", model)]
    # The stub finds its packages by the Python of PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path, "LD_LIBRARY_PATH": str(libraries)}
    with log.open("w") as output, subprocess.Popen(command, env=variables, stdout=output, stderr=output) as process:
        try:
            _wait(process, f"http://127.0.0.1:{http}/v2/health/ready", log)
            yield Server(process.pid, f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the server did not start within {duration(_START)}:\n{log.read_text()[-4000:]}")


def make(home: Path) -> Path:
    """The interpreter of the environment in a folder, made with this one's unless it is there."""
    python, marker = home / "bin" / "python", home / ".packages"
    wanted = "\n".join((sys.version, SERVER, *PACKAGES, (ROOT / "pyproject.toml").read_text()))
    if not marker.is_file() or marker.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES, "--editable", f"{ROOT}[cpu]"], check=True)
        subprocess.run([*pip, "--no-deps", SERVER], check=True)
        marker.write_text(wanted)
    return python


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    home = Path(arguments[0]).resolve()
    try:
        python = make(home)
    except subprocess.CalledProcessError as error:
        print(f"tests of Triton are left out: its environment cannot be made ({error})")
        return 0
    check = [str(python), "-c", "from tests.triton_server import missing; print(missing())"]
    if why := subprocess.run(check, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip():
        print(f"tests of Triton are left out: {why}")
        return 0
    bundles = home / "bundles"
    shutil.rmtree(bundles, ignore_errors=True)
    bundles.mkdir()
    exporting = [sys.executable, "-m", "pytest", "tests/exporting.py", "-k", "shapes"]
    subprocess.run(exporting, cwd=ROOT, check=True, env={**os.environ, "XSAM_EXPORT_BUNDLES": str(bundles)})
    variables = {**os.environ, "XSAM_TEST_BUNDLES": str(bundles)}
    tests = [str(python), "-m", "pytest", "-m", "triton", "tests/runtime/triton", *arguments[1:]]
    return subprocess.run(tests, cwd=ROOT, env=variables).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
