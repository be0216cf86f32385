"""A payload in parts that fit small transfers: each goes there once, and it is unpacked when all are there."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

from xsam_edge.runtime.errors import InputError

PAYLOAD = "payload"
_ARCHIVE = f"{PAYLOAD}.tar.xz"
_PART = re.compile(rf"{re.escape(_ARCHIVE)}\.(\d+)-of-(\d+)")


def write_parts(payload: Path, output: Path, limit: int) -> list[Path]:
    """Compress a folder into parts of ``limit`` bytes at most, one in each of the folders ``output``/1, 2, ...

    Returns:
        these folders; what was in them before is gone.
    """
    archive = output / _ARCHIVE
    with tarfile.open(archive, "w:xz", preset=6) as tar:
        tar.add(payload, PAYLOAD)
    for old in output.iterdir():
        if old.name.isdigit():
            shutil.rmtree(old)
    count = max(1, -(-archive.stat().st_size // limit))
    folders = []
    with archive.open("rb") as source:
        for number in range(1, count + 1):
            folder = output / str(number)
            folder.mkdir()
            (folder / f"{_ARCHIVE}.{number}-of-{count}").write_bytes(source.read(limit))
            folders.append(folder)
    archive.unlink()
    return folders


def collect(parts: Path, keep: Path) -> tuple[Path, list[int]]:
    """Keep the parts of a folder with those that came before, and unpack them once all are there.

    Returns:
        the folder of the payload, and the numbers of the parts that are still to come.

    Raises:
        InputError: the folder holds no part, or those that are kept are of another payload.
    """
    found = [path for path in sorted(parts.glob("*")) if _PART.fullmatch(path.name)]
    if not found:
        raise InputError(
            f"{parts} holds no part of a payload; give a folder that `gpu_check pack` wrote, such as .gpu/1"
        )
    keep.mkdir(parents=True, exist_ok=True)
    for path in found:
        shutil.copy(path, keep)
    kept = {path.name: path for path in keep.iterdir() if _PART.fullmatch(path.name)}
    counts = {int(match[2]) for name in kept if (match := _PART.fullmatch(name))}
    if len(counts) > 1:
        raise InputError(f"{keep} holds parts of another payload; remove that folder")
    (count,) = counts
    names = [f"{_ARCHIVE}.{number}-of-{count}" for number in range(1, count + 1)]
    missing = [number for number, name in enumerate(names, 1) if name not in kept]
    if not missing:
        _unpack([kept[name] for name in names], keep)
    return keep / PAYLOAD, missing


def _unpack(parts: list[Path], keep: Path) -> None:
    archive = keep / _ARCHIVE
    with archive.open("wb") as joined:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, joined)
    shutil.rmtree(keep / PAYLOAD, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(keep, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(
            f"the parts in {keep} cannot be unpacked ({error}); remove that folder, bring them again"
        ) from None
    finally:
        archive.unlink()
