"""Export the embedded model, segment a picture with it, and say where to look.

The model is the tiny one of the tests: its weights were never trained to see, so its masks mean nothing. What the demo
shows is the whole chain: a checkpoint in the official format becomes a bundle, and the bundle answers a prompt.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests" / "data" / "golden-phi3"


def run(*arguments: str | Path) -> None:
    """Show a command, then run it; the demo ends where a command fails."""
    words = [str(argument) for argument in arguments]
    print("$", " ".join(words), flush=True)
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    if code := subprocess.call(command):
        raise SystemExit(code)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for bundle and pictures")
    output = parser.parse_args().output
    bundle, image = output / "bundle", MODEL / "image.png"
    run("xsam-export", "--checkpoint", MODEL, "--precision", "fp32", "-o", bundle, "--overwrite")
    run("xsam-segment", bundle, image, "--refer", "the ironing man", "-o", output / "refer", "--overwrite")
    print("\nThis model was never trained: it shows the chain, not a meaningful mask.")
    for picture in sorted((output / "refer").glob("**/overlay.png")):
        print(f"Look at {picture}")


if __name__ == "__main__":
    main()
