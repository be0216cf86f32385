"""What ``xsam-export`` does with ``--triton``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from xsam_edge.export.triton.config import MODEL, Instances
from xsam_edge.export.triton.repository import COPIED, write_repository
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.cli.common import check_threads
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError


def run(options: argparse.Namespace) -> int:
    """Write a model repository; returns the exit code."""
    manifest = read_manifest(options.bundle)
    instances = _instances(options, manifest)
    with ProgressPrinter(sys.stderr, plain=not options.json) as progress:
        write_repository(
            options.bundle,
            manifest,
            options.triton,
            instances,
            copy=options.copy_bundle,
            overwrite=options.overwrite,
            progress=progress,
        )
    if options.json:
        result = {"repository": str(options.triton), "model": MODEL, "instances": instances.count}
        print(json.dumps({**result, "gpu": instances.gpu, "parameters": dict(instances.parameters)}))
        return 0
    where = "a GPU" if instances.gpu else "the CPU"
    print(f"{options.triton}: the model {MODEL}, {instances.count} on {where}, of {instances.parameters['bundle']}")
    print(f"start it with: tritonserver --model-repository {options.triton}")
    return 0


def _instances(options: argparse.Namespace, manifest: Manifest) -> Instances:
    engine = manifest.engine
    for name in ("device", "threads"):
        if engine is not None and getattr(options, name):
            raise InputError(f"--{name} is of graphs; the engines of {options.bundle} run on the GPU that they are for")
    device = options.device or ("cuda" if engine is not None or manifest.dialect == "cuda" else "cpu")
    check_threads(device, options.threads)
    bundle = COPIED if options.copy_bundle else str(Path.cwd() / options.bundle)
    parameters = {"bundle": bundle, "threads": str(options.threads), "scenes": str(options.scenes)}
    if engine is None:
        parameters["device"] = device
    return Instances(options.instances, device != "cpu", parameters)
