"""What the runtime loads: every task, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.recorded import DATA

PROGRAM = """
import sys

heavy = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "huggingface_hub", "optimum", "polygraphy",
         "xsam_edge.export", "xsam_edge.calibration", "xsam_edge.benchmarks")


def check(moment):
    found = sorted(name for name in heavy if name in sys.modules)
    assert not found, f"{moment}: {found}"


import xsam_edge.runtime as runtime

check("import")
assert "onnxruntime" not in sys.modules, "a backend is loaded when it is used"
scene = runtime.XSam.load(sys.argv[1], threads=1).look(sys.argv[2])
scene.refer("a car")
scene.reason("What can one drive?", answer="append")
scene.categories(["car"], ["road"])
scene.categories(["car"])
scene.categories(stuff=["road"])
scene.regions(points=[(20, 20)]).overlay()
scene.regions(boxes=[(1, 1, 50, 50)], similar=True)
scene.describe()
scene.chat("What?", max_new_tokens=2)
check("use")
print("done")
"""


def test_the_runtime_needs_no_training_stack(phi3_bundle: Path) -> None:
    image = DATA / "golden-phi3" / "image.png"
    command = [sys.executable, "-c", PROGRAM, str(phi3_bundle), str(image)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "done\n"


def test_only_the_backend_imports_onnxruntime() -> None:
    runtime = Path(__file__).parents[2] / "runtime"
    importers = {
        str(path.relative_to(runtime))
        for path in runtime.rglob("*.py")
        for line in path.read_text().splitlines()
        if line.strip().startswith(("import onnxruntime", "from onnxruntime"))
    }
    assert importers == {"backends/onnxruntime.py"}
