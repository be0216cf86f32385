"""Reading a data set's folder: JSON that is checked field by field, images, and which split to take.

Annotation files are not trusted: every value has its type checked where it is read, and no name leads out of a folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import load_image

Size = tuple[int, int]
"""(height, width) in pixels."""

T = TypeVar("T")

_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}
_PROBED = 50  # names by which a folder of images is recognised


def read_json(path: Path, kind: type[T], *, lenient: bool = False) -> T:
    """The content of a JSON file whose outermost value is a ``kind`` (dict or list).

    ``lenient`` skips bytes that are no UTF-8, for files that are known to hold some.

    Raises InputError for a file that is missing, no JSON, or of another kind.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig", "ignore" if lenient else "strict"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the folder of the data") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); download it again") from None
    return checked(value, kind, str(path))


def checked(value: Any, kind: type[T], where: str) -> T:
    """``value``, which must be a ``kind``; a whole number is a float too.

    Raises InputError that begins with ``where``.
    """
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return cast(T, float(value))
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where} is {_shown(value)}; expected {_KINDS[kind]}")
    return value


def field(record: Any, key: str, kind: type[T], where: str) -> T:
    """``record[key]``, which must be a ``kind``. Raises InputError that begins with ``where``."""
    if not isinstance(record, dict):
        raise InputError(f"{where} is {_shown(record)}; expected an object")
    if key not in record:
        raise InputError(f"{where} has no {key!r}; expected {_KINDS[kind]} there")
    value = record[key]
    return value if type(value) is kind else checked(value, kind, f"{where}: {key!r}")


def flag(record: dict[str, Any], key: str, where: str) -> bool:
    """An optional field of 0, 1, false or true; false where it is missing."""
    value = record.get(key, False)
    if value not in (0, 1, False, True):
        raise InputError(f"{where}: {key!r} is {_shown(value)}; expected 0 or 1")
    return bool(value)


def identifier(record: Any, key: str, where: str) -> int | str:
    """An id: a whole number or text."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{where}: {key!r} is {_shown(value)}; expected a whole number or text")
    return value


def picture_size(record: dict[str, Any], where: str) -> Size:
    """``height`` and ``width`` of an image's record."""
    size = field(record, "height", int, where), field(record, "width", int, where)
    if min(size) < 1:
        raise InputError(f"{where} is {size[1]} x {size[0]} pixels; at least 1 x 1 is needed")
    return size


def file_name(record: Any, key: str, where: str) -> str:
    """A file's name relative to a folder. Raises InputError for one that leads out of it."""
    name = field(record, key, str, where)
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise InputError(f"{where}: {key!r} is {name!r}; expected the name of a file inside the data's folder")
    return name


def open_picture(path: Path, size: Size | None) -> Image.Image:
    """An image, RGB and upright.

    Raises:
        OSError: the file is missing or damaged.
        InputError: it is not of the ``size`` that its annotations are for.
    """
    try:
        image = load_image(path)
    except InputError as error:
        raise OSError(str(error)) from error
    if size is not None and (image.height, image.width) != size:
        raise InputError(
            f"{path} is {image.width} x {image.height} pixels, its annotations are for {size[1]} x {size[0]}; "
            "use the images that the annotations were made on"
        )
    return image


def find_folder(names: Iterable[str], folders: Sequence[Path], what: str) -> Path:
    """The first of ``folders`` that holds most of ``names``, judged by some of them.

    Raises InputError, which calls the files ``what``, where no folder holds any.
    """
    every = list(names)
    probed = every[:: max(1, len(every) // _PROBED)]
    counts = [sum((folder / name).is_file() for name in probed) for folder in folders]
    if not any(counts):
        looked = ", ".join(str(folder) for folder in dict.fromkeys(folders))
        raise InputError(
            f"{what}, such as {every[0] if every else '?'}, were not found; they were looked for in {looked}"
        )
    return folders[counts.index(max(counts))]


def choose_split(found: Sequence[str], split: str | None, where: Path) -> str | None:
    """One of the splits that a folder holds: ``split``, or else "val", or else the only one.

    "val" also stands for "val2017" and the like. Returns None where ``split`` is not there.

    Raises InputError where nothing says which to take.
    """
    wanted = split or "val"
    matching = [name for name in found if name == wanted] or [name for name in found if _extends(name, wanted)]
    if not matching and split is None and len(found) == 1:
        return found[0]
    if len(matching) == 1 or (split is not None and not matching):
        return matching[0] if matching else None
    raise InputError(f"{where} holds {', '.join(sorted(found))}; say which with --split")


def _extends(name: str, split: str) -> bool:
    return name.startswith(split) and not name[len(split) : len(split) + 1].isalpha()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
