"""What every command does where the wheel and one backend are installed and nothing else, as on a board."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALLS = "is not installed; run `pip install 'xsam-edge[export]'`"
#: What such an installation lacks.
ABSENT = ("torch", "transformers", "optimum", "onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub")
ABSENT += ("pycocotools", "scipy", "av", "cv2", "supervision", "polygraphy", "rosbags", "mcap", "rerun")
ABSENT += ("fastapi", "uvicorn", "python_multipart", "pyarrow", "ray", "rclpy")

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Case:
    """A command line, the exit code that it ends with, and what it says."""

    arguments: tuple[str, ...]
    code: int = 0
    said: str = ""
    also: str = ""


HELP = tuple(
    Case((f"xsam-{name}", "--help"))
    for name in ("export", "segment", "label", "serve", "node", "verify", "doctor", "eval", "bench")
)


def cases(bundle: Path, reference: Path, folder: Path) -> list[Case]:
    """Every command, on a bundle and the recording whose weights it has; ``folder`` is where they may write."""
    path, image = str(bundle), str(reference / "image.png")
    random = ("xsam-export", "--random-weights", "--variant", "phi3")
    return [
        Case(("xsam-segment", path, image, "--refer", "a car", "-o", str(folder / "out"))),
        Case(("xsam-serve", path), 2, "is not installed; run `pip install 'xsam-edge[serve]'`"),
        Case(("xsam-label", path, image, "--things", "car", "--stuff", "road", "-o", str(folder / "labels"))),
        Case(("xsam-label", path, image, "--things", "car", "--format", "parquet"), 2, "'xsam-edge[parquet]'"),
        Case(("xsam-label", path, image, "--things", "car", "--ray", "-o", str(folder / "r")), 2, "'xsam-edge[ray]'"),
        Case(("xsam-node", path), 2, "rclpy is not installed; it comes with ROS 2"),
        Case(("xsam-doctor", path)),
        Case(("xsam-verify", path, "--reference", str(reference))),
        Case(
            ("xsam-eval", path, "--data", "shapes:40-41"), 0, "note: instances and regions were left out: pycocotools"
        ),
        Case(("xsam-eval", path, "--data", "shapes:40-41", "--task", "instances"), 2, "'xsam-edge[eval]'"),
        Case(
            ("xsam-bench", path, "--repeat", "1", "--warmup", "0", "--together", "0", "--stages"),
            0,
            "| 0.0865 | 1.78 |",  # GFLOP and MB of the image encoder, as the bundle says
            "peak fp32: ",
        ),
        Case(("xsam-bench", path, "--against", "torch"), 2, INSTALLS),
        Case((*random, "--plan", "--target", "rtx-40", "--precision", "fp16")),
        Case((*random, "-o", str(folder / "bundle")), 2, INSTALLS),
        Case(("xsam-export", "--checkpoint", str(reference), "-o", str(folder / "bundle")), 2, INSTALLS),
        Case(("xsam-export", "--checkpoint", str(reference), "--plan", "--target", "rtx-40", "--precision", "fp16")),
        Case(("xsam-export", "--checkpoint", "shapes", "--precision", "int8", "-o", str(folder / "b")), 2, INSTALLS),
        Case(("xsam-export", "--from", path, "--engine", "tensorrt", "--plan", "--target", "orin-nx")),
        Case(
            ("xsam-export", "--from", path, "--engine", "tensorrt-rtx", "-o", str(folder / "e")),
            2,
            "xsam-export: error: ",
        ),
    ]


def fault(case: Case, run: Run) -> str | None:
    """What is wrong with how a command ends, if anything."""
    done = run(case.arguments)
    wrong = []
    if done.returncode != case.code:
        wrong.append(f"ends with {done.returncode}, expected {case.code}")
    wrong += [f"does not say {text!r}" for text in (case.said, case.also) if text not in done.stdout + done.stderr]
    if "Traceback" in done.stderr or (case.code and done.stderr.count("error: ") != 1):
        wrong.append("does not end in one line")
    return f"{' '.join(case.arguments)}: {'; '.join(wrong)}\n{done.stderr}" if wrong else None
