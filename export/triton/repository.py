"""Writing a model repository beside its place: it appears there when it is whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xsam_edge.export.staging import check_space, staged
from xsam_edge.export.triton.config import MODEL, Instances, config_text
from xsam_edge.export.triton.page import page
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, Manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress, silent

_CONFIG, _VERSION, _PAGE = "config.pbtxt", "1", "README.md"

#: Where a bundle that is copied lies in the model's folder: with its version, as its weights.
COPIED = f"{_VERSION}/bundle"


def write_repository(
    bundle: Path,
    manifest: Manifest,
    output: Path,
    instances: Instances,
    *,
    copy: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> None:
    """Write ``output/xsam``, and ``README.md`` beside it; with ``copy`` the bundle as well, checked in full before.

    Raises:
        BundleError: an altered bundle, or one that lacks a file.
        InputError: it cannot be put at ``output``.
    """
    check_repository(output, overwrite)
    if output.resolve() in (bundle.resolve(), *bundle.resolve().parents):
        raise InputError(f"{bundle} lies in {output}, which would be replaced; choose another folder for --triton")
    if bundle.resolve() in output.resolve().parents:
        raise InputError(
            f"{output} lies in the bundle {bundle}, which stays as it is; choose another folder for --triton"
        )
    paths = check_files(bundle, manifest, verify="full" if copy else "none", progress=progress).paths
    config = config_text(instances)
    with staged(output, overwrite, progress, check=check_repository) as folder:
        version = folder / MODEL / _VERSION
        version.mkdir(parents=True)
        (folder / _PAGE).write_text(page(), encoding="utf-8")
        (folder / MODEL / _CONFIG).write_text(config, encoding="utf-8")
        shutil.copyfile(Path(__file__).with_name("model.py"), version / "model.py")
        if copy:
            check_space(folder, sum(entry.bytes for entry in manifest.files.values()))
            for name, path in {**paths, MANIFEST_FILE: bundle / MANIFEST_FILE}.items():
                target = folder / MODEL / COPIED / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def check_repository(output: Path, overwrite: bool) -> None:
    """Raise InputError if a model repository cannot be put at ``output``; an empty folder is no obstacle."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{output} exists; choose another folder, or replace the repository with --overwrite")
    if not output.is_dir() or not (output / MODEL / _CONFIG).is_file():
        raise InputError(f"{output} exists and is not a repository of {MODEL}; it is left alone, choose another folder")
    if others := sorted(set(os.listdir(output)) - {MODEL, _PAGE}):
        raise InputError(
            f"{output} holds {others[0]} beside {MODEL}; it is left alone, choose another folder, move {MODEL} later"
        )
