"""The options of ``--triton``; what they do is :mod:`command`."""

from __future__ import annotations

import argparse

from xsam_edge.runtime.backends.onnxruntime import DEVICES
from xsam_edge.runtime.cli.common import count, file_path, positive, threads
from xsam_edge.runtime.triton.settings import DEFAULT_SCENES

#: What is of model repositories alone.
OF_TRITON = ("device", "threads", "instances", "scenes", "copy_bundle")
_MOST_INSTANCES, _MOST_SCENES = 1024, 1 << 20


def add_triton_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--triton`` and what its ``config.pbtxt`` says."""
    triton = parser.add_argument_group("triton", "serve the bundle of --from by NVIDIA's Triton Inference Server")
    triton.add_argument("--triton", type=file_path, metavar="DIR", help="the model repository to write")
    triton.add_argument(
        "--device", choices=DEVICES, help="that graphs run on (default: cuda for graphs of --for cuda, else cpu)"
    )
    triton.add_argument("--threads", type=threads, default=0, metavar="N", help="of an instance (default: every core)")
    triton.add_argument("--instances", type=_few, default=1, metavar="N", help="each loads the bundle (default: 1)")
    triton.add_argument(
        "--scenes", type=_some, default=DEFAULT_SCENES, metavar="N", help="images that stay encoded (default: 8)"
    )
    triton.add_argument(
        "--copy-bundle", action="store_true", help="put the bundle into the repository, which names its path otherwise"
    )


def _few(text: str) -> int:
    return _up_to(positive(text), _MOST_INSTANCES)


def _some(text: str) -> int:
    return _up_to(count(text), _MOST_SCENES)


def _up_to(value: int, most: int) -> int:
    if value > most:
        raise argparse.ArgumentTypeError(f"{value} is more than {most}")
    return value
