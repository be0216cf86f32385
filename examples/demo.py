"""Export the demo model, draw a scene, ask it three things, and say where to look.

The model, ``shapes``, is a very small X-SAM that was trained on drawn scenes and comes with the package: everything
here is the real chain, from a checkpoint in the official format to masks on a picture.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

SEED, PIXELS = 83, 480
PHRASE = "the white shape left of the red cross"
THINGS, STUFF = "circle,square,triangle,star,cross", "sky,grass,sand,water"


def run(*arguments: str | Path) -> None:
    """Show a command, then run it; the demo ends where a command fails."""
    words = [str(argument) for argument in arguments]
    print("$", " ".join(f"'{word}'" if " " in word else word for word in words), flush=True)
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    if code := subprocess.call(command):
        raise SystemExit(code)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for bundle and pictures")
    output = parser.parse_args().output
    bundle, scenes = output / "bundle", output / "scenes"
    run("xsam-export", "--checkpoint", "shapes", "--precision", "fp32", "-o", bundle, "--overwrite")

    shutil.rmtree(scenes, ignore_errors=True)
    drawing = ["-m", "xsam_edge.calibration.shapes", "--split", f"{SEED}-{SEED}", "--size", str(PIXELS)]
    run("python", *drawing, "-o", scenes)
    (image,) = scenes.glob("*.png")

    asked = {
        "refer": ["--refer", PHRASE],
        "panoptic": ["--things", THINGS, "--stuff", STUFF],
        "caption": ["--describe"],
    }
    for name, task in asked.items():
        run("xsam-segment", bundle, image, *task, "-o", output / name, "--overwrite")
    print()
    for name in asked:
        for picture in sorted((output / name).glob("**/overlay.png")):
            print(f"Look at {picture}")


if __name__ == "__main__":
    main()
