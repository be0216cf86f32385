"""Real workers of Ray; run with `make test-ray`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from xsam_edge.runtime.cli.label import main

pytestmark = pytest.mark.ray
NAMES = ["--things", "person,car", "--stuff", "road,sky", "--threshold", "0.1", "--threads", "1", "--verify", "none"]
FORMATS = ["--format", "coco", "--format", "panoptic", "--format", "yolo", "--format", "parquet"]


@pytest.fixture(scope="module", autouse=True)
def needs_ray() -> None:
    pytest.importorskip("ray.data")
    # Other processes of a busy machine would leave workers no time.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, phi3_reference: Path) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    image = Image.open(phi3_reference / "image.png").convert("RGB")
    for number in range(150):
        image.rotate(2 * number).save(folder / f"{number:03d}.png")
    (folder / "070.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, phi3_bundle: Path, pictures: Path) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("plain") / "out"
    assert main([str(phi3_bundle), str(pictures), *NAMES, *FORMATS, "-o", str(out), "--quiet"]) == 0
    return content(out)


def content(folder: Path) -> dict[str, bytes]:
    left_out = {"label.log", "journal.jsonl"}  # records come in any order
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in left_out
    }


def test_two_workers_write_what_one_process_does(
    phi3_bundle: Path, pictures: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [str(phi3_bundle), str(pictures), *NAMES, *FORMATS, "-o", str(out), "--quiet", "--ray", "--workers", "2"]
    assert main(command) == 0
    assert content(out) == wanted


def workers() -> list[int]:
    """The processes that label."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith((b"ray::MapWorker", b"ray::MapBatches")):
                found.append(int(folder.name))
    return found


def test_a_worker_that_is_killed_loses_nothing(
    phi3_bundle: Path, pictures: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    journal = out / "journal.jsonl"
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not killed:
            if journal.exists() and journal.read_bytes().count(b"\n") > 20 and (there := workers()):
                os.kill(there[0], signal.SIGKILL)
                killed.append(there[0])
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    command = [str(phi3_bundle), str(pictures), *NAMES, *FORMATS, "-o", str(out), "--quiet", "--ray", "--workers", "2"]
    assert main(command) == 0
    killer.join()
    assert killed
    assert content(out) == wanted
    names = [json.loads(line)["picture"] for line in journal.read_text().splitlines()[1:]]
    assert len(names) == len(set(names)) == 150  # nothing twice


def test_a_run_that_was_killed_goes_on_with_or_without_ray(
    phi3_bundle: Path, pictures: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = [str(phi3_bundle), str(pictures), *NAMES, *FORMATS, "-o", str(out), "--quiet"]
    run = "import sys; from xsam_edge.runtime.cli.label import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", run, *asked, "--ray", "--workers", "2"])
    journal = out / "journal.jsonl"
    deadline = time.monotonic() + 300
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert main(asked) == 0
    assert content(out) == wanted


def test_what_cannot_work_is_said_at_once(
    phi3_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(phi3_bundle), str(pictures), *NAMES, "-o", str(tmp_path / "out"), "--quiet"]
    for more, fault in (
        (["--ray", "--workers", "5000"], "5000 workers of 1 threads take more than the"),
        (["--ray", "--device", "cuda", "--threads", "0"], "the cluster has no GPU for --device cuda"),
        (["--ray", "127.0.0.1:1"], "no cluster of Ray answers at '127.0.0.1:1'"),
    ):
        assert main([*asked, *more]) == 2
        assert fault in capsys.readouterr().err
