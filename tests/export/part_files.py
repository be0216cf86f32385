"""The recorded folder of the four parts, to be edited by tests."""

from __future__ import annotations

import json
from pathlib import Path

PHI3 = "Phi-3-mini-4k-instruct"
SIGLIP = "siglip2-so400m-patch14-384"
SAM = "sam-vit-large"
MASK2FORMER = "mask2former-swin-large-coco-panoptic"


def edit(inits: Path, folder: str, section: str | None = None, file: str = "config.json", **values: object) -> None:
    """Change values of one part's file."""
    path = inits / folder / file
    content = json.loads(path.read_text())
    (content if section is None else content[section]).update(values)
    path.write_text(json.dumps(content))
