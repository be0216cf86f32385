"""Which pictures are labelled: those of folders, files and lists of files, in one order, each once."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from xsam_edge.runtime.errors import InputError


@dataclass(frozen=True)
class Pictures:
    """``names`` are paths from ``root`` on, with slashes, ordered by folder and then by name, each once."""

    root: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, name: str) -> Path:
        """Where a picture is."""
        return self.root / name

    def place(self, name: str) -> int | None:
        """Which of the names it is, None where it is none of them."""
        at = bisect_left(self.names, _order(name), key=_order)
        return at if at < len(self.names) and self.names[at] == name else None


def find_pictures(sources: Sequence[str], output: Path) -> Pictures:
    """The pictures of folders (with all folders in them), files and ``@list.txt``.

    Hidden files and folders are left out, and of a folder what is no file, such as a FIFO, or Pillow has no format for.
    A folder that links lead to again is read once. Names are paths from the deepest folder on that holds all sources.

    Args:
        sources: folders, files, and texts with @ in front: files with a path a line, or between bytes of zero, from
            the folder of that file on.
        output: the folder that is written.

    Raises:
        InputError: a source that does not exist, an ``output`` inside of a source, or no picture at all.
    """
    roots: list[str] = []
    found: list[str] = []
    for source in sources:
        if source.startswith("@") and not os.path.lexists(source):
            listed = _listed(Path(source[1:]))
            roots += sorted({os.path.dirname(path) for path in listed})
            found += listed
            continue
        path = os.path.abspath(source)
        if os.path.isdir(path):
            _check_output(output, path)
            roots.append(path)
            found += _walk(path)
        elif os.path.isfile(path):
            roots.append(os.path.dirname(path))
            found.append(path)
        else:
            raise InputError(f"{source} does not exist; give folders, pictures or @LIST, a file with a path a line")
    if not found:
        raise InputError(f"no picture is in {', '.join(sources)}; files that Pillow reads were expected")
    root = os.path.commonpath(roots)
    below = len(root) if root.endswith(os.sep) else len(root) + 1
    names = sorted({path[below:].replace(os.sep, "/") for path in found}, key=_order)
    return Pictures(Path(root), names)


def _order(name: str) -> tuple[str, str]:
    folder, _, file = name.rpartition("/")
    return folder, file


def _check_output(output: Path, source: str) -> None:
    inner, outer = Path(os.path.realpath(output)), Path(os.path.realpath(source))
    if inner == outer or outer in inner.parents:
        raise InputError(
            f"the output {output} is inside of {source}, whose pictures are labelled; choose a folder beside it"
        )


def _walk(top: str) -> Iterator[str]:
    Image.init()
    known = set(Image.registered_extensions())
    seen: set[tuple[int, int]] = set()
    left = [top]
    while left:
        folder = left.pop()
        facts = os.stat(folder)
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder) as entries:
            shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda item: item.name)
        modes = {entry.path: _mode(entry) for entry in shown}
        for entry in shown:
            is_file = modes[entry.path] is None or stat.S_ISREG(modes[entry.path] or 0)
            if is_file and os.path.splitext(entry.name)[1].lower() in known:
                yield entry.path
        # The real ones first, so that pictures have their own names and not those that links give them.
        folders = [entry for entry in shown if stat.S_ISDIR(modes[entry.path] or 0)]
        left += [entry.path for entry in sorted(folders, key=lambda item: (item.is_symlink(), item.name))[::-1]]


def _mode(entry: os.DirEntry[str]) -> int | None:
    """What an entry is; None of a link that leads nowhere or to itself, which is told when its picture is read."""
    try:
        return entry.stat().st_mode
    except OSError:
        return None


def _listed(file: Path) -> list[str]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"@{file}: there is no such file; give one with a path a line") from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"@{file} is UTF-16; save it as UTF-8, with a path a line")
    parts = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    paths = [os.fsdecode(part) for part in parts if part.strip()]
    if not paths:
        raise InputError(f"@{file} holds no path; write one a line")
    folder = os.path.dirname(os.path.abspath(file))
    return [os.path.normpath(os.path.join(folder, path)) for path in paths]
