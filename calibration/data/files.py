"""Reading a data set's folder: annotation files, images, and which split to take.

Annotation files are not trusted: every value that is used is declared with its type and limits, and no name leads out
of a folder. They hold more than is used here, which is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Protocol, TypeVar

from PIL import Image

from xsam_edge.runtime.bundle.constraints import FileName, PositiveInt, one_of
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import stored_image, to_rgb, upright

Size = tuple[int, int]
"""(height, width) in pixels."""

Id = int | str
Flag = bool | Annotated[float, one_of(0, 1)]

T = TypeVar("T")

ADVICE = "correct it, or download the file again"
_PROBED = 50  # names by which a folder of images is recognised


@dataclass(frozen=True)
class ImageRecord:
    """An image of an annotation file."""

    extra_keys: ClassVar[bool] = True

    id: Id
    file_name: FileName
    height: PositiveInt
    width: PositiveInt

    @property
    def size(self) -> Size:
        """Of the pixels that the annotations are for."""
        return self.height, self.width


def read_annotations(path: Path, kind: type[T]) -> T:
    """An annotation file whose content is a ``kind``. Raises InputError for any other."""
    missing = f"{path} does not exist; check the folder of the data"
    return read_json(path, kind, advice=ADVICE, missing=missing)


class _Record(Protocol):
    @property
    def id(self) -> Id: ...


R = TypeVar("R", bound=_Record)


def by_id(records: Sequence[R], where: str) -> dict[Id, R]:
    """Records by their ids; ``where`` is the list's place. Some published files name one twice, which does no harm.

    Raises:
        InputError: two differ that have one id.
    """
    found: dict[Id, tuple[int, R]] = {}
    for index, record in enumerate(records):
        first, known = found.setdefault(record.id, (index, record))
        if known != record:
            raise InputError(f"{where}[{index}] has the id {record.id!r} of {where}[{first}], and is another; {ADVICE}")
    return {key: record for key, (_, record) in found.items()}


def open_picture(path: Path, size: Size | None, *, annotated_upright: bool = False) -> Image.Image:
    """An image, RGB, turned as the one that its annotations were made on.

    Some tools annotate an image as it is stored, others as it is seen, turned by its EXIF orientation; the ``size``
    that annotations are for tells which. Where both have that size (a square, half a turn), ``annotated_upright`` says
    what the tools of the data set do. Without a size the image is upright.

    Raises:
        OSError: the file is missing or damaged.
        InputError: it is not of the ``size`` that its annotations are for, however it is turned.
    """
    try:
        stored, name = stored_image(path)
        turned = upright(stored)
        if size is None:
            return to_rgb(turned, name)
        views = (turned, stored) if annotated_upright else (stored, turned)
        for view in views:
            if (view.height, view.width) == size:
                return to_rgb(view, name)
    except InputError as error:
        raise OSError(str(error)) from error
    raise InputError(
        f"{path} is {stored.width} x {stored.height} pixels, its annotations are for {size[1]} x {size[0]}; "
        "use the images that the annotations were made on"
    )


@lru_cache(maxsize=4)  # the masks of an image ask for it one after the other
def picture_size(path: Path) -> Size:
    """The size of an image, upright. Raises InputError for one that cannot be read."""
    try:
        image = open_picture(path, None)
    except OSError as error:
        raise InputError(str(error)) from None
    return image.height, image.width


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


def choose_split(splits: Sequence[str], split: str | None, where: Path) -> str | None:
    """One of the splits that a folder holds: ``split``, or else "val", or else the only one.

    "val" also stands for "val2017" and the like. Returns None where ``split`` is not there.

    Raises InputError where nothing says which to take.
    """
    wanted = split or "val"
    matching = [name for name in splits if name == wanted] or [name for name in splits if _extends(name, wanted)]
    if not matching and split is None and len(splits) == 1:
        return splits[0]
    if len(matching) == 1 or (split is not None and not matching):
        return matching[0] if matching else None
    raise InputError(f"{where} holds {', '.join(sorted(splits))}; say which with --split")


def _extends(name: str, split: str) -> bool:
    return name.startswith(split) and not name[len(split) : len(split) + 1].isalpha()
